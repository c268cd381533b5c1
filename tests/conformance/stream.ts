// One stream of the suite: the store behind it, its type, and the head of its chain.
import type { IncomingMessage } from 'node:http'
import { linked } from '../support/events.ts'
import type { Addressing } from './proxy.ts'

const JSON_TYPE = 'application/json'

export class Stream {
  readonly #path: string
  readonly #name: string
  readonly #addressing: Addressing
  #backendId = 'none'
  #type: string | undefined
  #head = 0
  #lastWrite: Promise<unknown> = Promise.resolve()

  constructor(path: string, addressing: Addressing) {
    this.#path = path
    this.#name = `conformance/${encodeURIComponent(path.replace(/^\/v1\/stream\//, ''))}`
    this.#addressing = addressing
  }

  get isJson(): boolean {
    return isJson(this.#type)
  }

  get #store(): string {
    return `/v1/stream/${this.#name}`
  }

  get #incarnation(): string {
    return `/v1/incarnation/${this.#name}/${this.#backendId}`
  }

  /** A stream is created by its store's URL, which names the incarnation. Every other request goes to the incarnation. */
  address(method: string | undefined): string {
    return this.#addressing === 'store' || method === 'PUT' ? this.#store : this.#incarnation
  }

  locationHere(location: string, { headers }: IncomingMessage): string {
    const { pathname } = new URL(location, 'http://worker')
    const isOurs = pathname === this.#store || pathname === this.#incarnation
    return isOurs ? `http://${headers.host}${this.#path}` : location
  }

  /** The stream's own type and `application/json` change places, so that every other type stays another one. */
  typeThere(type: string): string {
    return this.#swap(type, this.#type ?? type, JSON_TYPE)
  }

  typeHere(type: string): string {
    return this.#swap(type, JSON_TYPE, this.#type ?? JSON_TYPE)
  }

  #swap(type: string, from: string, to: string): string {
    if (essence(type) === essence(from)) return to
    return essence(type) === essence(to) ? from : type
  }

  inTurn<T>(write: () => Promise<T>): Promise<T> {
    const turn = this.#lastWrite.then(write)
    this.#lastWrite = turn.catch(() => {})
    return turn
  }

  /** The body as a batch that follows the head. A body that has no messages passes as it is, for the Worker to judge. */
  wrapped(body: Buffer, type: string | undefined): Buffer {
    const messages = messagesOf(body, type)
    if (messages === undefined) return body
    const first = this.#head + 1
    const batch = linked(this.#head, messages.length, (seqNum) => ({
      name: 'messageAppended',
      args: { payload: messages[seqNum - first] },
      clientId: 'suite',
      sessionId: 'session',
    }))
    return Buffer.from(JSON.stringify(batch))
  }

  /** Keeps what a write's answer says about the stream. */
  note(method: string, type: string | undefined, answer: IncomingMessage): void {
    if ((answer.statusCode ?? 500) >= 300) return
    if (method === 'PUT' && answer.statusCode === 201) {
      this.#type = type ?? JSON_TYPE
      this.#head = 0
    }
    const { 'livestore-backend-id': backendId, 'livestore-head': head } = answer.headers
    if (typeof backendId === 'string') this.#backendId = backendId
    if (head !== undefined) this.#head = Number(head)
  }
}

const essence = (type: string) => type.split(';')[0]?.trim().toLowerCase()
export const isJson = (type: string | undefined) => type !== undefined && essence(type) === JSON_TYPE

export const isEmpty = (body: Buffer, type: string | undefined) =>
  body.length === 0 || messagesOf(body, type)?.length === 0

/** Undefined for a body that has none: it is empty, or not JSON. */
function messagesOf(body: Buffer, type: string | undefined): unknown[] | undefined {
  if (!isJson(type)) return body.length === 0 ? undefined : [payloadOf(body)]
  try {
    const json: unknown = JSON.parse(body.toString())
    return Array.isArray(json) ? json : [json]
  } catch {
    return undefined
  }
}

/**
 * Text or base64, whichever is shorter: a batch has a limit. A body that is much longer still is refused before it is read, and the
 * connection may break before the refusal arrives.
 */
function payloadOf(bytes: Buffer): unknown {
  const [text, base64] = [bytes.toString(), bytes.toString('base64')]
  const isText = Buffer.from(text).equals(bytes) && JSON.stringify(text).length <= base64.length + 20
  return isText ? text : { base64 }
}

/** The payloads of a read, without the stream's header. */
export const messagesIn = (body: Buffer | string): unknown[] =>
  (JSON.parse(body.toString()) as Message[])
    .filter((message) => message.livestore === undefined)
    .map((message) => message.args?.payload)

interface Message {
  livestore?: unknown
  args?: { payload: unknown }
}

/** What the suite expects to read: an array of the messages, or their bytes one after another. */
export function unwrap(messages: unknown[], stream: Stream): Buffer {
  if (stream.isJson) return Buffer.from(JSON.stringify(messages))
  return Buffer.concat(
    messages.map((payload) =>
      typeof payload === 'string'
        ? Buffer.from(payload)
        : Buffer.from((payload as { base64: string }).base64, 'base64'),
    ),
  )
}
