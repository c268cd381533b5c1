/**
 * Requests to the Durable Streams server itself, for the modes that go there without a Worker: one function for each
 * protocol operation. None of them retries, because only the caller knows whether it may. Each rejects with an `HttpFailure`.
 */
import { type AnswerHead, failureOf, headOf, isJson } from '../http/authenticity.ts'
import type { UpstreamEndpoint } from '../http/endpoints.ts'
import { ForeignAnswer, noOffset, ResponseError, TransportError } from '../http/errors.ts'
import { type Answer, attempt, noStore, readText, type Transport } from '../http/transport.ts'
import {
  backendIdIn,
  CLOSED,
  fenceHeader,
  headerBody,
  implicitBackendId,
  JSON_TYPE,
  NEXT_OFFSET,
  PRODUCER_EPOCH,
  PRODUCER_EXPECTED_SEQ,
  PRODUCER_ID,
  PRODUCER_SEQ,
  problemType,
  UP_TO_DATE,
} from '../protocol/index.js'
import { START_OFFSET } from '../reading/page.ts'
import { decodeEvent } from '../store/event.ts'
import { firstMessage } from './first-message.ts'

export interface Upstream {
  readonly url: string
  readonly transport: Transport
  /** Reads the backend id and the end of the stream. */
  readonly check: (signal?: AbortSignal) => Promise<Checked>
  /** Reads all messages from an offset to the tail. */
  readonly read: (offset: string, signal?: AbortSignal) => Promise<LogRange>
  /** Creates the stream with its header (docs/http-api.md, "The header"), unless there is a stream. */
  readonly create: (signal?: AbortSignal) => Promise<Created>
  /** Appends with the fence. Rejects also if the outcome is unknown. */
  readonly append: (batch: FencedBatch, signal?: AbortSignal) => Promise<Appended>
  /** Rejects if the server does not answer. */
  readonly ping: (timeoutMs: number, signal?: AbortSignal) => Promise<void>
  /** The backend id of a stream without a header. */
  readonly implicitId: string
  /** The backend id of a stream that begins with these messages. */
  readonly idOf: (messages: ReadonlyArray<unknown>) => string
}

/** `stallTimeoutMs` bounds each silence in a read, `pushTimeoutMs` any other whole exchange. */
export interface UpstreamLimits {
  readonly pushTimeoutMs: number
  readonly stallTimeoutMs: number
}

export interface Missing {
  readonly _tag: 'Missing'
}

/** `backendId` is undefined while the stream is empty: the header may be on its way. */
export type Checked =
  | Missing
  | { readonly _tag: 'Checked'; readonly backendId: string | undefined; readonly tail: string }

export type LogRange =
  | Missing
  | { readonly _tag: 'Read'; readonly messages: ReadonlyArray<unknown>; readonly end: string }

export type Created = { readonly _tag: 'Exists' } | { readonly _tag: 'Created'; readonly backendId: string }

export interface FencedBatch {
  readonly body: string
  readonly parent: number
  /** The producer's id, and the number of this append (PROTOCOL 5.2.1). */
  readonly producer: string
  readonly producerSeq: number
}

export type Appended =
  | Missing
  | { readonly _tag: 'Appended'; readonly offset: string }
  /** The fence refused the batch: one with this parent, or a later one, is in the log. */
  | { readonly _tag: 'Conflict' }
  /** The server does not know the producer's earlier appends: it has forgotten them, or it is another server or log. */
  | { readonly _tag: 'Forgotten' }

export const makeUpstream = (
  transport: Transport,
  { base, path }: UpstreamEndpoint,
  { pushTimeoutMs, stallTimeoutMs }: UpstreamLimits,
): Upstream => {
  const url = `${base}/${path}`
  const implicitId = implicitBackendId(path)
  const idOf = ([first]: ReadonlyArray<unknown>) => backendIdIn(first) ?? implicitId
  const request = (init: RequestInit, signal: AbortSignal | undefined, timeoutMs = pushTimeoutMs) =>
    transport.request(url, { ...init, ...noStore() }, { timeoutMs, signal })

  const check = (signal?: AbortSignal): Promise<Checked> =>
    orMissing(async () => {
      const { head, first } = await attempt('GET', pushTimeoutMs, signal, (own) => beginning(transport, url, own))
      const isMessage = first === undefined || backendIdIn(first) !== undefined || decodeEvent(first) !== undefined
      if (!isMessage) throw new ForeignAnswer(url, head.status, 'it begins with something other than an event')
      const end = offsetOf(head, first === undefined ? [] : [first])
      const tail = head.headers.has(UP_TO_DATE) ? end : await tailOf(signal)
      return { _tag: 'Checked', backendId: first === undefined ? undefined : idOf([first]), tail }
    })

  /** Needed only for a server that answers in pages. */
  const tailOf = async (signal: AbortSignal | undefined, timeoutMs?: number): Promise<string> => {
    const { status, headers } = await request({ method: 'HEAD' }, signal, timeoutMs)
    const tail = headers.get(NEXT_OFFSET)
    if (status !== 200 || tail === null) throw new ForeignAnswer(url, status, `it has no ${NEXT_OFFSET} header`)
    return tail
  }

  const read = (from: string, signal?: AbortSignal): Promise<LogRange> =>
    orMissing(async () => {
      const messages: Array<unknown> = []
      for (let offset = from; ; ) {
        const page = `${url}?offset=${encodeURIComponent(offset)}`
        const answer = await transport.request(
          page,
          { method: 'GET', ...noStore() },
          { timeoutMs: stallTimeoutMs, stalls: true, signal },
        )
        const read = parse(answer)
        for (const message of read) messages.push(message)
        const end = offsetOf(answer, read)
        if (answer.headers.has(UP_TO_DATE)) return { _tag: 'Read', messages, end }
        if (end === offset) throw new TransportError('the page ends where it begins, but the log goes on')
        offset = end
      }
    })

  const create = async (signal?: AbortSignal): Promise<Created> => {
    const backendId = randomUuid()
    const init = { method: 'PUT', headers: JSON_TYPE, body: headerBody(backendId) }
    const { status, headers } = await request(init, signal)
    if ((status !== 200 && status !== 201) || !headers.has(NEXT_OFFSET))
      throw new ForeignAnswer(url, status, 'it does not say whether it created a stream')
    return status === 201 ? { _tag: 'Created', backendId } : { _tag: 'Exists' }
  }

  const append = (batch: FencedBatch, signal?: AbortSignal): Promise<Appended> =>
    attempt('POST', pushTimeoutMs, signal, (own) => appendWithFence(transport, url, batch, own))

  const ping = async (timeoutMs: number, signal?: AbortSignal): Promise<void> => {
    await orMissing(() => tailOf(signal, timeoutMs))
  }

  return { url, transport, check, read, create, append, ping, implicitId, idOf }
}

const MISSING: Missing = { _tag: 'Missing' }

/** PROTOCOL 5.6: 410 is gone for good, 404 may be not there yet. */
const missingOr = (cause: unknown): Missing => {
  if (cause instanceof ResponseError && (cause.status === 404 || cause.status === 410)) return MISSING
  throw cause
}

const orMissing = <A>(work: () => Promise<A>): Promise<A | Missing> => work().catch(missingOr)

const appendWithFence = async (
  transport: Transport,
  url: string,
  { body, parent, producer, producerSeq }: FencedBatch,
  signal: AbortSignal,
): Promise<Appended> => {
  const headers = {
    ...JSON_TYPE,
    ...fenceHeader(parent),
    [PRODUCER_ID]: producer,
    [PRODUCER_EPOCH]: '0',
    [PRODUCER_SEQ]: String(producerSeq),
  }
  const response = await transport.fetch(url, { method: 'POST', headers, body, signal, ...noStore() })
  const head = headOf(url, response)
  if (head.status === 409) return conflict(head)
  const failure = await failureOf(transport.party, head, () => readText(response, () => {}))
  if (failure !== undefined) return missingOr(failure)
  await readText(response, () => {})
  return appended(head, producerSeq)
}

/** A captive portal answers 200 to everything. */
const appended = ({ url, status, headers }: AnswerHead, producerSeq: number): Appended => {
  const offset = headers.get(NEXT_OFFSET)
  // A browser may hide the echo. After 204, a duplicate, nothing was appended (PROTOCOL 5.2.1).
  const echoed = headers.get(PRODUCER_SEQ) ?? String(producerSeq)
  if (status !== 200 || echoed !== String(producerSeq) || offset === null)
    throw new ForeignAnswer(url, status, 'it does not confirm this append')
  return { _tag: 'Appended', offset }
}

const conflict = ({ url, status, headers }: AnswerHead): Appended => {
  if (headers.has(CLOSED)) {
    throw new ResponseError(
      url,
      status,
      {
        type: problemType('store-closed'),
        title: 'Closed',
        detail: 'the store is archived: its stream is closed, and takes no more events',
      },
      0,
    )
  }
  return { _tag: headers.has(PRODUCER_EXPECTED_SEQ) ? 'Forgotten' : 'Conflict' }
}

/** Reads only the first message. */
const beginning = async (
  transport: Transport,
  url: string,
  signal: AbortSignal,
): Promise<{ head: AnswerHead; first: unknown }> => {
  const response = await transport.fetch(`${url}?offset=${START_OFFSET}`, { method: 'GET', signal, ...noStore() })
  const head = headOf(url, response)
  const failure = await failureOf(transport.party, head, () => readText(response, () => {}))
  if (failure !== undefined) throw failure
  if (head.status !== 200 || !isJson(head.headers)) throw new ForeignAnswer(url, head.status, 'it is not a log')
  const pieces = piecesOf(response)
  let text = ''
  for await (const piece of pieces) {
    text += piece
    const found = firstMessage(text)
    if (found._tag === 'NotAnArray') throw new ForeignAnswer(url, head.status, 'it is not a log')
    if (found._tag === 'Incomplete') continue
    return { head, first: found._tag === 'Found' ? found.message : undefined }
  }
  throw new TransportError('the answer was cut off')
}

async function* piecesOf(response: Response): AsyncGenerator<string> {
  const { body } = response
  if (body === null || body === undefined) {
    yield await response.text()
    return
  }
  const reader = body.getReader()
  const decoder = new TextDecoder()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield decoder.decode(value, { stream: true })
    }
  } finally {
    void reader.cancel().catch(() => {})
  }
}

/** An answer with messages comes from this server, even if it hides the offset. One without messages may come from anybody. */
const offsetOf = ({ url, status, headers }: AnswerHead, messages: ReadonlyArray<unknown>): string => {
  const offset = headers.get(NEXT_OFFSET)
  if (offset !== null) return offset
  throw messages.length > 0 ? noOffset(url, status) : new ForeignAnswer(url, status, `it has no ${NEXT_OFFSET} header`)
}

const parse = (answer: Answer): ReadonlyArray<unknown> => {
  const { url, status, headers, body } = answer
  if (status !== 200 || !isJson(headers)) throw new ForeignAnswer(url, status, 'it is not a log')
  let messages: unknown
  try {
    messages = JSON.parse(body)
  } catch (cause) {
    throw new TransportError(`the answer is not a log: ${String(cause)}`, { cause })
  }
  if (!Array.isArray(messages)) throw new ForeignAnswer(url, status, 'it is not a log')
  return messages
}

/** Browsers have `crypto.randomUUID` only on pages from https or localhost. */
export const randomUuid = (): string => {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16))
  const text = Array.from(bytes, (byte, i) =>
    (i === 6 ? (byte & 0x0f) | 0x40 : i === 8 ? (byte & 0x3f) | 0x80 : byte).toString(16).padStart(2, '0'),
  ).join('')
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
