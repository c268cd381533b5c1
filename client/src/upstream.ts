/**
 * Requests to the Durable Streams server itself, for the modes that go there without a Worker: one function a protocol
 * operation. Nothing here retries; who calls knows whether it may.
 */
import { Effect } from 'effect'

import { noStore } from './backend-id.ts'
import type { UpstreamEndpoint } from './endpoints.ts'
import { type HttpFailure, noOffset, TransportError } from './errors.ts'
import { decodeHeader } from './event.ts'
import { firstMessage } from './first-message.ts'
import type { Settings } from './options.ts'
import { START_OFFSET } from './page.ts'
import { type Answer, attempt, isOk, refusal, type Transport } from './transport.ts'

export interface Upstream {
  readonly url: string
  readonly transport: Transport
  /** Whose stream is it, and where does it end? */
  readonly check: Effect.Effect<Checked, HttpFailure>
  /** All from an offset to the tail. */
  readonly read: (offset: string) => Effect.Effect<Stretch, HttpFailure>
  /** Makes the stream with its header (docs/wire.md, "The header"), unless there is one. */
  readonly create: Effect.Effect<Created, HttpFailure>
  /** Appends with the fence. Fails also where nobody knows what became of it. */
  readonly append: (batch: FencedBatch) => Effect.Effect<Appended, HttpFailure>
  /** Does it answer at all? */
  readonly ping: (timeoutMs: number) => Effect.Effect<void, HttpFailure>
  /** Whose stream it is that begins with these messages. */
  readonly idOf: (messages: ReadonlyArray<unknown>) => string
}

export interface Missing {
  readonly _tag: 'Missing'
}

/** `backendId` is undefined while the stream is empty: it may be on its way. */
export type Checked = Missing | { readonly _tag: 'Checked'; readonly backendId: string | undefined; readonly tail: string }

export type Stretch = Missing | { readonly _tag: 'Read'; readonly messages: ReadonlyArray<unknown>; readonly end: string }

export type Created =
  | { readonly _tag: 'Exists' }
  | { readonly _tag: 'Created'; readonly backendId: string }

export interface FencedBatch {
  readonly body: string
  readonly parent: number
  /** Names the appends since the log was last looked at (PROTOCOL 5.2.1), and numbers them. */
  readonly producer: string
  readonly streak: number
}

export type Appended =
  | Missing
  | { readonly _tag: 'Appended'; readonly offset: string }
  /** The fence: a batch with this parent, or a later one, is in the log. */
  | { readonly _tag: 'Conflict' }
  /** The server does not know of our appends before: it is not the one, or not the log, that took them. */
  | { readonly _tag: 'Forgotten' }

const NEXT_OFFSET = 'stream-next-offset'
const UP_TO_DATE = 'stream-up-to-date'
const JSON_TYPE = { 'content-type': 'application/json' }

export const makeUpstream = (
  transport: Transport,
  { base, path }: UpstreamEndpoint,
  { pushTimeout, stallTimeout }: Pick<Settings, 'pushTimeout' | 'stallTimeout'>,
): Upstream => {
  const url = `${base}/${path}`
  /** That of a stream without header. */
  const implicitId = `path:${path}`
  const idOf = ([first]: ReadonlyArray<unknown>) => decodeHeader(first) ?? implicitId
  const exchange = (init: RequestInit) => transport.exchange(url, { ...init, ...noStore() }, pushTimeout)

  const check = Effect.gen(function* () {
    const { found, ...answer } = yield* attempt('GET', pushTimeout, (signal) => beginning(transport, url, signal))
    if (isMissing(answer)) return MISSING
    if (!isOk(answer)) return yield* refusal(answer)
    if (found._tag === 'NotAnArray') return yield* Effect.fail(new TransportError('what came is no log'))
    const backendId = found._tag === 'Found' ? idOf([found.message]) : undefined
    const end = yield* offsetOf(answer)
    const tail = answer.headers.has(UP_TO_DATE) ? end : yield* tailOf
    return typeof tail === 'string' ? { _tag: 'Checked' as const, backendId, tail } : tail
  })

  /** Only a server that answers in pages is asked for its tail apart. */
  const tailOf = Effect.gen(function* () {
    const answer = yield* exchange({ method: 'HEAD' })
    if (isMissing(answer)) return MISSING
    if (!isOk(answer)) return yield* refusal(answer)
    return answer.headers.get(NEXT_OFFSET) ?? (yield* Effect.fail(new TransportError('a tail without an offset')))
  })

  const read = (from: string): Effect.Effect<Stretch, HttpFailure> =>
    Effect.gen(function* () {
      const messages: Array<unknown> = []
      for (let offset = from; ; ) {
        const page = `${url}?offset=${encodeURIComponent(offset)}`
        const answer = yield* transport.download(page, { method: 'GET', ...noStore() }, stallTimeout)
        if (isMissing(answer)) return MISSING
        if (!isOk(answer)) return yield* refusal(answer)
        for (const message of yield* parse(answer.body)) messages.push(message)
        const end = yield* offsetOf(answer)
        if (answer.headers.has(UP_TO_DATE)) return { _tag: 'Read', messages, end }
        if (end === offset) return yield* Effect.fail(new TransportError('a page that leads nowhere'))
        offset = end
      }
    })

  const create = Effect.gen(function* () {
    const backendId = randomUuid()
    const body = JSON.stringify([{ livestore: { backendId, version: 1 } }])
    const answer = yield* exchange({ method: 'PUT', headers: JSON_TYPE, body })
    if (!isOk(answer)) return yield* refusal(answer)
    return answer.status === 201 ? { _tag: 'Created' as const, backendId } : { _tag: 'Exists' as const }
  })

  const append = ({ body, parent, producer, streak }: FencedBatch): Effect.Effect<Appended, HttpFailure> =>
    Effect.gen(function* () {
      const headers = {
        ...JSON_TYPE,
        'stream-seq': fence(parent),
        'producer-id': producer,
        'producer-epoch': '0',
        'producer-seq': String(streak),
      }
      const answer = yield* exchange({ method: 'POST', headers, body })
      if (isMissing(answer)) return MISSING
      if (answer.status === 409 && answer.headers.has('stream-closed')) return yield* refusal({ ...answer, body: CLOSED })
      if (answer.status === 409) {
        return { _tag: answer.headers.has('producer-expected-seq') ? 'Forgotten' : 'Conflict' }
      }
      if (!isOk(answer)) return yield* refusal(answer)
      const offset = answer.headers.get(NEXT_OFFSET)
      // Appended, but where? And a captive portal says yes to everything.
      if (offset === null) return yield* Effect.fail(new TransportError('an append whose answer has no offset'))
      return { _tag: 'Appended', offset }
    })

  const ping = (timeoutMs: number) =>
    Effect.flatMap(transport.exchange(url, { method: 'HEAD', ...noStore() }, timeoutMs), (answer) =>
      isOk(answer) || isMissing(answer) ? Effect.void : refusal(answer),
    )

  return { url, transport, check, read, create, append, ping, idOf }
}

/** PROTOCOL 5.2 compares it byte by byte, hence the zeros; as `fence` in src/event.rs. */
export const fence = (parent: number): string => String(parent).padStart(16, '0')

const MISSING: Missing = { _tag: 'Missing' }

/** PROTOCOL 5.6: gone for good, or not yet there. */
const isMissing = ({ status }: { readonly status: number }): boolean => status === 404 || status === 410

/** Reads no further than the first message. */
const beginning = async (transport: Transport, url: string, signal: AbortSignal) => {
  const response = await transport.fetch(`${url}?offset=${START_OFFSET}`, { method: 'GET', signal, ...noStore() })
  const { status, headers } = response
  if (!isOk(response) || response.body === null) {
    return { url, status, headers, body: await response.text(), found: { _tag: 'NotAnArray' } as const }
  }
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let body = ''
  for (;;) {
    const { done, value } = await reader.read()
    body += decoder.decode(value, { stream: !done })
    const found = firstMessage(body)
    if (found._tag !== 'Incomplete') {
      void reader.cancel().catch(() => {})
      return { url, status, headers, body: '', found }
    }
    if (done) throw new Error('the answer was cut off')
  }
}

/** Only of an answer that brought a log: without one it may not be this server's at all. */
const offsetOf = ({ url, status, headers }: Omit<Answer, 'body'>): Effect.Effect<string, HttpFailure> => {
  const offset = headers.get(NEXT_OFFSET)
  return offset === null ? Effect.fail(noOffset(url, status)) : Effect.succeed(offset)
}

const CLOSED = JSON.stringify({ title: 'Closed', detail: 'the stream was closed: it takes no events any more' })

const parse = (body: Answer['body']): Effect.Effect<ReadonlyArray<unknown>, TransportError> =>
  Effect.try({
    try: () => {
      const messages: unknown = JSON.parse(body)
      if (!Array.isArray(messages)) throw new Error('not an array')
      return messages as ReadonlyArray<unknown>
    },
    catch: (cause) => new TransportError(`what came is no log: ${String(cause)}`, { cause }),
  })

/** `crypto.randomUUID` is only for pages from https or localhost. */
export const randomUuid = (): string => {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16))
  const text = Array.from(bytes, (byte, i) =>
    (i === 6 ? (byte & 0x0f) | 0x40 : i === 8 ? (byte & 0x3f) | 0x80 : byte).toString(16).padStart(2, '0'),
  ).join('')
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
