// What every wire test needs: the Worker on workerd before a real upstream, with a counting proxy between them.
// Tests name headers and problem types literally, on purpose: they check the wire from outside the protocol module.
import { request } from 'node:http'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { firstBreak, urlPath } from '../../client/src/protocol/index.js'
import {
  type CountingProxy,
  type Server,
  startCountingProxy,
  startNodeUpstream,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'
import { linked } from '../support/events.ts'

export const upstreams = [
  { name: 'the Rust server', start: startRustUpstream },
  { name: 'the Node reference server', start: startNodeUpstream },
]

export interface Parts {
  upstream: Server
  /** Between the Worker and the upstream. */
  proxy: CountingProxy
  worker: Server
}

/** Starts the parts before the tests of this file or block, and stops them after. */
export function useParts(
  startUpstream: (typeof upstreams)[number]['start'] = startRustUpstream,
  vars: Record<string, string> = {},
  variant?: string,
): Parts {
  const parts = {} as Parts
  beforeAll(async () => {
    parts.upstream = await startUpstream()
    parts.proxy = await startCountingProxy(parts.upstream.url)
    parts.worker = await startWorker({
      upstreamUrl: parts.proxy.url,
      vars,
      ...(variant === undefined ? {} : { variant }),
    })
  })
  afterAll(async () => {
    await parts.worker?.stop()
    await parts.proxy?.stop()
    await parts.upstream?.stop()
  })
  return parts
}

/**
 * The upstream and the proxy for the tests of this file. Each test deploys the Worker that it wants, and leaves an upstream that
 * answers to the next one.
 */
export function useDeployments() {
  const parts = {} as Parts
  beforeAll(async () => {
    parts.upstream = await startRustUpstream()
    parts.proxy = await startCountingProxy(parts.upstream.url)
  })
  afterEach(async () => {
    parts.proxy.setOnline(true)
    await parts.worker?.stop()
  })
  afterAll(async () => {
    await parts.proxy?.stop()
    await parts.upstream?.stop()
  })
  const deploy = async (vars: Record<string, string> = {}, options: { cache?: boolean; analytics?: boolean } = {}) => {
    parts.worker = await startWorker({ upstreamUrl: parts.proxy.url, vars, ...options })
  }
  return { parts, deploy }
}

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

/** A store no other test uses, as a client sees it. */
export class Store {
  readonly #parts: Pick<Parts, 'worker' | 'upstream'>
  readonly name: string
  readonly tenant: string

  constructor(parts: Pick<Parts, 'worker' | 'upstream'>, { name = `store-${++stores}`, tenant = 'acme' } = {}) {
    this.#parts = parts
    this.name = name
    this.tenant = tenant
  }

  get url(): string {
    return `${this.#parts.worker.url}/v1/stream/${urlPath(this.tenant, this.name)}`
  }

  /** The store's stream, past the Worker and the proxy. For plain names only. */
  get upstreamUrl(): string {
    return `${this.#parts.upstream.url}/${this.tenant}/${this.name}`
  }

  push(batch: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const body = typeof batch === 'string' ? batch : JSON.stringify(batch)
    return fetch(this.url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
  }

  /** Pushes what must be accepted. */
  async pushed(batch: unknown): Promise<Response> {
    const response = await this.push(batch)
    if (response.status !== 200) throw new Error(`push: ${response.status} ${await response.text()}`)
    return response
  }

  read(query = 'offset=-1', headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    return fetch(`${this.url}?${query}`, { headers, ...(signal ? { signal } : {}) })
  }

  /** All events, the header left out, from the Worker. */
  async events(): Promise<Event[]> {
    return withoutHeader(await json<Message[]>(await this.read()))
  }

  /** All events, from the upstream itself. */
  async eventsUpstream(): Promise<Event[]> {
    return withoutHeader(await json<Message[]>(await fetch(`${this.upstreamUrl}?offset=-1`)))
  }

  request(method: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url, { ...init, method })
  }
}

/** `fetch` does not let a test choose the host. */
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

/** A body that the test knows the type of. */
export const json = async <T>(response: Response): Promise<T> => (await response.json()) as T

/** The members of a problem that tests look at. */
export interface Problem {
  _tag: string
  detail: string
  minimumExpectedNum: number
}

type Message = Event | { livestore: unknown }

const withoutHeader = (messages: Message[]): Event[] =>
  messages.filter((message): message is Event => !('livestore' in message))

/** Throws unless the events are a chain from the root. */
export function checkChain(events: Event[]): void {
  const broken = firstBreak(events)
  if (broken !== undefined)
    throw new Error(`the chain breaks: ${JSON.stringify(events.slice(Math.max(0, broken - 1), broken + 1))}`)
}

/** The events of an SSE answer, one by one as they arrive. */
export async function* sse(response: Response): AsyncGenerator<{ event: string; data: string }> {
  let text = ''
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n')
      text = text.slice(end + 2)
      const field = (name: string) =>
        lines
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
          .join('\n')
      yield { event: field('event'), data: field('data') }
    }
  }
}
