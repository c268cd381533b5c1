/**
 * One read of the log: a page, or a live connection by server-sent events (PROTOCOL 5.6 to 5.8). A read never retries;
 * pull-core.ts decides what comes next. A live connection reads from its socket only while the pull asks for more.
 */
import { createParser, type EventSourceMessage } from 'eventsource-parser'

import {
  type AnswerHead,
  failureOf,
  headOf,
  isEventStream,
  isJson,
  unvouched,
  vouchedHead,
} from '../http/authenticity.ts'
import { ForeignAnswer, type HttpFailure, noOffset, TransportError } from '../http/errors.ts'
import { attempt, noStore, readText, toFailure } from '../http/transport.ts'
import { BACKEND_ID_HEADER, backendIdIn, CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE } from '../protocol/index.js'
import { decodeEvent } from '../store/event.ts'
import type { LogPage, Outcome, ReadQuery } from './pull-terms.ts'
import type { ReadSource } from './source.ts'

export interface ReadLimits {
  /** A read without a byte for so long fails. */
  readonly stallTimeoutMs: number
  /** If the first event takes longer, something on the way holds the connection back (live-mode.ts). */
  readonly firstByteTimeoutMs: number
}

/** The outcome of reading a page. */
export type PageReply = Extract<Outcome, { readonly _tag: 'Page' | 'Torn' | 'Failed' }>

/** The outcome of the next step of a live connection. */
export type LiveReply = Extract<
  Outcome,
  { readonly _tag: 'Page' | 'Behind' | 'Ended' | 'Cut' | 'Stalled' | 'NoStreams' | 'NoSocket' | 'Failed' }
>

export interface LiveRead {
  /** What comes behind `seqNum`. Once the signal is aborted, nobody takes it any more. */
  readonly next: (seqNum: number, signal: AbortSignal) => Promise<LiveReply>
  /** Whether the connection brings everything up to this event, as far as it knows. */
  readonly reaches: (seqNum: number) => boolean
  /** Aborts the request at once. */
  readonly close: () => void
}

export const readPageOf = async (
  source: ReadSource,
  query: ReadQuery,
  limits: ReadLimits,
  signal?: AbortSignal,
): Promise<PageReply> => {
  const url = urlOf(source, query)
  const work = async (signal: AbortSignal, goesOn: () => void): Promise<PageReply> => {
    const response = await source.transport.fetch(url, requestInit(query, signal))
    goesOn()
    const head = headOf(url, response)
    const failure = await failureOf(source.transport.party, head, () => readText(response, () => {}))
    if (failure !== undefined) {
      return { _tag: 'Failed', failure, backendId: failure._tag === 'ResponseError' ? backendIdOf(head) : undefined }
    }
    return pageFrom(source, head, response, () => readText(response, goesOn), query)
  }
  return attempt('read', limits.stallTimeoutMs, signal, work).catch((cause: unknown) => failedBy(cause))
}

const failedBy = (cause: unknown): { readonly _tag: 'Failed'; readonly failure: HttpFailure } => ({
  _tag: 'Failed',
  failure: toFailure('read', cause),
})

const pageFrom = async (
  { transport: { party } }: ReadSource,
  head: AnswerHead,
  response: Response,
  read: () => Promise<string>,
  { live }: ReadQuery,
): Promise<PageReply> => {
  const foreign = (why: string): PageReply => ({
    _tag: 'Failed',
    failure: new ForeignAnswer(head.url, head.status, why),
  })
  if (party === 'worker' && vouchedHead(head) === undefined) return { _tag: 'Failed', failure: unvouched(head) }
  // PROTOCOL 5.7: a long-poll that brought nothing.
  const isTimeout = head.status === 204 && live === 'long-poll'
  if (head.status !== 200 && !isTimeout) return foreign('it is not an answer to a read')
  if (!isTimeout && !isJson(head.headers))
    return foreign(`its type is ${head.headers.get('content-type') ?? 'unknown'}`)

  const text = (await read()).trim()
  let messages: unknown
  try {
    messages = JSON.parse(text === '' && isTimeout ? '[]' : text)
  } catch (cause) {
    return {
      _tag: 'Torn',
      failure: new TransportError(`read failed: ${String(cause)}`, { cause }),
      backendId: backendIdOf(head),
    }
  }
  if (!Array.isArray(messages)) return foreign('it is not an array of messages')
  const next = head.headers.get(NEXT_OFFSET)
  if (next === null) {
    const isLog =
      party === 'log' &&
      messages.length > 0 &&
      messages.every((message) => backendIdIn(message) ?? decodeEvent(message))
    return isLog
      ? { _tag: 'Failed', failure: noOffset(head.url, head.status) }
      : foreign(`it has no ${NEXT_OFFSET} header`)
  }
  const canStream = response.body !== undefined && response.body !== null
  return {
    _tag: 'Page',
    page: {
      ...pageHead(head),
      messages,
      next,
      upToDate: head.headers.has(UP_TO_DATE),
      closed: isClosed(head),
      canStream: canStream || isTimeout,
    },
  }
}

/** The part of a page that the head of the answer tells. */
const pageHead = (head: AnswerHead) => ({
  url: head.url,
  cursor: head.headers.get(CURSOR) ?? undefined,
  backendId: backendIdOf(head),
  head: vouchedHead(head),
})

const isClosed = ({ headers }: AnswerHead): boolean => headers.get(CLOSED)?.toLowerCase() === 'true'

const backendIdOf = ({ headers }: AnswerHead): string | undefined => headers.get(BACKEND_ID_HEADER) ?? undefined

export const listen = (source: ReadSource, query: ReadQuery, limits: ReadLimits): LiveRead => {
  const abort = new AbortController()
  const url = urlOf(source, query)
  const queue: Array<LogPage> = []
  let heard = false
  let openedAt: number | undefined
  let opened: Promise<LiveReply | ReadableStreamDefaultReader<Uint8Array>> | undefined
  let end: LiveReply | undefined

  /** Comments keep a connection open, but only events show that it works. */
  const patienceMs = () => {
    if (heard) return limits.stallTimeoutMs
    openedAt ??= Date.now()
    return Math.max(1, openedAt + Math.min(limits.firstByteTimeoutMs, limits.stallTimeoutMs) - Date.now())
  }

  const open = async (): Promise<LiveReply | ReadableStreamDefaultReader<Uint8Array>> => {
    const response = await source.transport.fetch(url, requestInit(query, abort.signal))
    const head = headOf(url, response)
    const failure = await failureOf(source.transport.party, head, () => readText(response, () => {}))
    if (failure !== undefined) return { _tag: 'Failed', failure }
    if (source.transport.party === 'worker' && vouchedHead(head) === undefined)
      return { _tag: 'Failed', failure: unvouched(head) }
    if (head.status !== 200 || !isEventStream(head.headers)) {
      return { _tag: 'Failed', failure: new ForeignAnswer(url, head.status, 'it is not a stream of events') }
    }
    if (response.body === null || response.body === undefined) return { _tag: 'NoStreams' }
    parse = makePageParser(
      head,
      (page) => queue.push(page),
      () => {
        heard = true
      },
    )
    return response.body.getReader()
  }
  let parse: (chunk: string) => void = () => {}
  const decoder = new TextDecoder()

  const step = async (): Promise<LiveReply | undefined> => {
    opened ??= open()
    const reader = await opened
    if ('_tag' in reader) return reader
    const { done, value } = await reader.read()
    if (done) return { _tag: 'Ended' }
    parse(decoder.decode(value, { stream: true }))
    return undefined
  }

  const next = async (): Promise<LiveReply> => {
    while (end === undefined) {
      const page = queue.shift()
      if (page !== undefined) return { _tag: 'Page', page }
      try {
        // The time counts only while a step is pending: a slow consumer does not make a stalled server.
        end = await attempt('read', patienceMs(), undefined, step)
      } catch (cause) {
        const failed = failedBy(cause)
        const hasStalled = failed.failure._tag === 'TransportError' && failed.failure.timedOut
        end = hasStalled ? { ...failed, _tag: 'Stalled', heard } : failed
      }
    }
    abort.abort()
    return end
  }

  return { next, reaches: () => false, close: () => abort.abort() }
}

/** A data event and the control event after it make a page (PROTOCOL 5.8). */
const makePageParser = (
  head: AnswerHead,
  give: (page: LogPage) => void,
  onAny: () => void,
): ((chunk: string) => void) => {
  let messages: Array<unknown> = []
  const foreign = (why: string) => new ForeignAnswer(head.url, head.status, why)

  const onEvent = ({ event, data }: EventSourceMessage) => {
    onAny()
    if (event === 'data') {
      const parsed: unknown = JSON.parse(data)
      messages = messages.concat(parsed)
      return
    }
    if (event !== 'control') throw foreign(`it holds an unknown kind of event: ${JSON.stringify(event ?? 'message')}`)
    const control: unknown = JSON.parse(data)
    const {
      streamNextOffset: next,
      upToDate,
      streamClosed,
      streamCursor: cursor,
    } = (control ?? {}) as Record<string, unknown>
    if (typeof next !== 'string') throw foreign('it holds a control event without an offset')
    const isEnd = upToDate === true || streamClosed === true
    if (messages.length > 0 || isEnd) {
      give({
        ...pageHead(head),
        ...(typeof cursor === 'string' ? { cursor } : {}),
        messages,
        next,
        upToDate: isEnd,
        closed: streamClosed === true,
        canStream: true,
      })
    }
    messages = []
  }
  const parser = createParser({ onEvent })
  return (chunk) => parser.feed(chunk)
}

const requestInit = ({ fresh }: ReadQuery, signal: AbortSignal): RequestInit => ({
  method: 'GET',
  signal,
  ...(fresh ? noStore() : {}),
})

/** Sorts the parameters (PROTOCOL 10.1), so that equal reads share a cache entry. Reads of two incarnations never do. */
const urlOf = (source: ReadSource, { offset, after, live, cursor, backendId, atStore, nonce }: ReadQuery): string => {
  const query = new URLSearchParams({ offset })
  if (after !== undefined) query.set('after', String(after))
  if (live !== undefined) query.set('live', live)
  if (cursor !== undefined && live !== undefined) query.set('cursor', cursor)
  const address = backendId === undefined || atStore ? undefined : source.urlOfIncarnation?.(backendId)
  const url = address ?? source.url
  if (backendId !== undefined && url === source.url) query.set('backend', backendId)
  if (nonce !== undefined) query.set('nonce', nonce)
  query.sort()
  return `${url}?${query}`
}
