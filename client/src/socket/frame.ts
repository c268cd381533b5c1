/** The frames of a socket (docs/http-api.md, "The socket"): one line of JSON, and perhaps a batch behind it. */
import type { ProblemDetails } from '../http/errors.ts'
import { NO_TURN, type Turn } from './turns.ts'

export const SUBPROTOCOL = 'headwater.v1'

/** A subprotocol with this prefix carries the token: a browser can't set headers on a WebSocket. */
export const TOKEN_PREFIX = 'bearer.'

/** The runtime answers it with `PONG`, without waking the Durable Object. */
export const PING = 'ping'
export const PONG = 'pong'

export type ServerFrame =
  | { readonly _tag: 'Hello'; readonly hello: Hello }
  | { readonly _tag: 'Granted'; readonly expiresInMs: number | undefined }
  | { readonly _tag: 'Ack'; readonly push: number; readonly head: number; readonly offset: string; readonly turn: Turn }
  | {
      readonly _tag: 'Refuse'
      readonly push: number
      readonly problem: ProblemDetails
      readonly retryAfterMs: number
      readonly turn: Turn
    }
  | {
      readonly _tag: 'Events'
      readonly parent: number
      readonly head: number
      readonly offset: string
      readonly messages: ReadonlyArray<unknown>
      readonly turn: Turn
      /** The length of their JSON. */
      readonly size: number
    }
  | { readonly _tag: 'Moved'; readonly head: number; readonly offset: string; readonly turn: Turn }
  | { readonly _tag: 'Reset'; readonly backend: string }
  /** The server closes the socket. */
  | { readonly _tag: 'Bye' }
  /** A frame of a later version. */
  | { readonly _tag: 'Other' }

export interface Hello {
  /** The client's name in a `Turn`. */
  readonly id: number
  readonly backend: string
  readonly head: number
  readonly offset: string
  /** The bounds of one push. */
  readonly limits: { readonly events: number; readonly bytes: number; readonly pushes: number }
  /** The time until the server needs a new token; undefined if it needs none. */
  readonly expiresInMs: number | undefined
}

/** @throws if the text is no frame of the server */
export const parseFrame = (text: string): ServerFrame => {
  const lineEnd = text.indexOf('\n')
  const head = record(JSON.parse(lineEnd < 0 ? text : text.slice(0, lineEnd)))
  const batch = lineEnd < 0 ? '' : text.slice(lineEnd + 1)
  if ('events' in head) {
    const { parent, head: last, offset, turn } = record(head['events'])
    const messages: unknown = JSON.parse(batch)
    if (!Array.isArray(messages)) throw new Error('the events are not an array')
    return {
      _tag: 'Events',
      parent: integer(parent),
      head: integer(last),
      offset: string(offset),
      messages,
      turn: turnOf(turn),
      size: batch.length,
    }
  }
  if ('ack' in head) {
    const { push, head: last, offset, turn } = record(head['ack'])
    return { _tag: 'Ack', push: integer(push), head: integer(last), offset: string(offset), turn: turnOf(turn) }
  }
  if ('refuse' in head) {
    const { push, problem, retryAfterMs, turn } = record(head['refuse'])
    return {
      _tag: 'Refuse',
      push: integer(push),
      problem: record(problem),
      retryAfterMs: optionalInteger(retryAfterMs) ?? 0,
      turn: turnOf(turn),
    }
  }
  if ('moved' in head) {
    const { head: last, offset, turn } = record(head['moved'])
    return { _tag: 'Moved', head: integer(last), offset: string(offset), turn: turnOf(turn) }
  }
  if ('reset' in head) return { _tag: 'Reset', backend: string(record(head['reset'])['backend']) }
  if ('granted' in head) {
    return { _tag: 'Granted', expiresInMs: optionalInteger(record(head['granted'])['expiresInMs']) }
  }
  if ('hello' in head) return { _tag: 'Hello', hello: helloOf(record(head['hello'])) }
  return { _tag: 'bye' in head ? 'Bye' : 'Other' }
}

const turnOf = (value: unknown): Turn => {
  if (value === undefined) return NO_TURN
  const { line, patienceMs } = record(value)
  if (!Array.isArray(line)) throw new Error('the line of writers is not an array')
  return { line: line.map(integer), patienceMs: integer(patienceMs) }
}

const helloOf = ({ id, backend, head, offset, limits, expiresInMs }: Record<string, unknown>): Hello => {
  const { events, bytes, pushes } = record(limits)
  return {
    id: integer(id),
    backend: string(backend),
    head: integer(head),
    offset: string(offset),
    limits: { events: integer(events), bytes: integer(bytes), pushes: integer(pushes) },
    expiresInMs: optionalInteger(expiresInMs),
  }
}

const record = (value: unknown): Record<string, unknown> => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('no object')
  return value as Record<string, unknown>
}

const integer = (value: unknown): number => {
  if (!Number.isSafeInteger(value)) throw new Error('no integer')
  return value as number
}

const optionalInteger = (value: unknown): number | undefined => (value === undefined ? undefined : integer(value))

const string = (value: unknown): string => {
  if (typeof value !== 'string') throw new Error('no string')
  return value
}
