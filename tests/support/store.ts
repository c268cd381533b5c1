// A store over HTTP, as a client at the wire sees it.
// Tests name headers and problem types literally, on purpose: they check the wire from outside the protocol module.
import { request } from 'node:http'
import { urlPath } from '../../client/src/protocol/index.js'
import type { Server } from '../harness/index.ts'
import { eventsIn, linked } from './events.ts'

export interface Event {
  name: string
  args: unknown
  seqNum: number
  parentSeqNum: number
  clientId: string
  sessionId: string
}

export const event = (seqNum: number, args?: unknown): Event => chain(seqNum - 1, 1, args)[0]!

/** `count` events that follow the event `after`. */
export const chain = (after: number, count: number, args?: unknown): Event[] =>
  linked(after, count, (seqNum) => ({
    name: 'todoCreated',
    args: args === undefined ? { id: String(seqNum) } : args,
    clientId: 'client',
    sessionId: 'session',
  }))

let stores = 0

interface Parts {
  readonly worker: Pick<Server, 'url'>
  readonly upstream: Pick<Server, 'url'>
}

/** A store that no other test uses, as a client sees it. */
export class Store {
  readonly #parts: Parts
  readonly name: string
  readonly tenant: string

  constructor(parts: Parts, { name = `store-${++stores}`, tenant = 'acme' } = {}) {
    this.#parts = parts
    this.name = name
    this.tenant = tenant
  }

  get url(): string {
    return `${this.#parts.worker.url}/v1/stream/${urlPath(this.tenant, this.name)}`
  }

  /** The store's stream, past the Worker and the proxy. It works for plain names only. */
  get upstreamUrl(): string {
    return `${this.#parts.upstream.url}/${this.tenant}/${this.name}`
  }

  push(batch: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const body = typeof batch === 'string' ? batch : JSON.stringify(batch)
    return fetch(this.url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
  }

  /** Pushes a batch that must be accepted. */
  async pushed(batch: unknown): Promise<Response> {
    const response = await this.push(batch)
    if (response.status !== 200) throw new Error(`push: ${response.status} ${await response.text()}`)
    return response
  }

  /** The address of an incarnation of this store. */
  incarnation(backendId: string): Incarnation {
    return new Incarnation(
      `${this.#parts.worker.url}/v1/incarnation/${urlPath(this.tenant, this.name)}/${encodeURIComponent(backendId)}`,
    )
  }

  /** The address of the incarnation that the store has now. */
  async currentIncarnation(): Promise<Incarnation> {
    return this.incarnation((await this.request('HEAD')).headers.get('livestore-backend-id') ?? '')
  }

  read(query = 'offset=-1', headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    return fetch(`${this.url}?${query}`, { headers, ...(signal ? { signal } : {}) })
  }

  /** All events from the Worker, without the header. */
  async events(): Promise<Event[]> {
    return eventsIn(await json(await this.read()))
  }

  /** Waits until the Sequencer has written its rows, as it does before it looks up a position. */
  async rowsWritten(): Promise<void> {
    await (await this.read('after=0')).text()
  }

  get #isBuiltIn(): boolean {
    return this.#parts.upstream.url === ''
  }

  /** All events from the log itself. Only the Worker reaches a built-in log. */
  async eventsInLog(): Promise<Event[]> {
    return eventsIn(
      await json(this.#isBuiltIn ? await this.read('whole=true') : await fetch(`${this.upstreamUrl}?offset=-1`)),
    )
  }

  /** Whether the store has a log. */
  async hasLog(): Promise<boolean> {
    if (this.#isBuiltIn) return (await this.request('HEAD')).headers.get('stream-next-offset') !== '-1'
    return (await fetch(this.upstreamUrl, { method: 'HEAD' })).status === 200
  }

  request(method: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url, { ...init, method })
  }
}

/** An incarnation of a store, as a client sees it that knows its address. */
export class Incarnation {
  readonly url: string

  constructor(url: string) {
    this.url = url
  }

  read(query = 'offset=-1', init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}?${query}`, init)
  }

  request(method: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url, { ...init, method })
  }

  push(batch: unknown): Promise<Response> {
    const headers = { 'content-type': 'application/json' }
    return this.request('POST', { headers, body: JSON.stringify(batch) })
  }
}

/** The status of an answer to a request with this `Host`, which `fetch` does not let a test choose. */
export function statusFor(url: string, host: string, method = 'GET'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers: { host } }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
      .once('error', reject)
      .end()
  })
}

/** The body, of a type that the test knows. */
export const json = async <T>(response: Response): Promise<T> => (await response.json()) as T

/** The members of a problem that tests look at. */
export interface Problem {
  _tag: string
  detail: string
  minimumExpectedNum: number
}

/** One answer to a read of the log. */
export interface Page {
  readonly query: string
  readonly next: string
  readonly upToDate: boolean
  readonly cache: string | null
  readonly headers: Headers
  readonly bytes: number
  readonly events: readonly Event[]
}

interface Reader {
  read(query: string): Promise<Response>
}

export const readPage = async (reader: Reader, query: string): Promise<Page> => {
  const response = await reader.read(query)
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${query}: ${response.status} ${text}`)
  const { headers } = response
  return {
    query,
    next: headers.get('stream-next-offset') ?? '',
    upToDate: headers.has('stream-up-to-date'),
    cache: headers.get('x-cache'),
    headers,
    bytes: Buffer.byteLength(text),
    get events() {
      return eventsIn<Event>(JSON.parse(text))
    },
  }
}

/** Reads page by page to the tail, as every client does. */
export async function* pages(reader: Reader, query = 'offset=-1'): AsyncGenerator<Page> {
  for (;;) {
    const page = await readPage(reader, query)
    yield page
    if (page.upToDate) return
    const next = `offset=${page.next}`
    if (next === query) throw new Error(`the page at ${query} leads to itself`)
    query = next
  }
}

/** All pages to the tail. */
export const walk = async (reader: Reader, query?: string): Promise<Page[]> => {
  const all: Page[] = []
  for await (const page of pages(reader, query)) all.push(page)
  return all
}
