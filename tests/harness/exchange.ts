// One request's way through the counting proxy, and every way it can go wrong on it.
import {
  type Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http'
import { pipeline } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

export interface RecordedRequest {
  /** When it arrived, by `performance.now()`. */
  readonly at: number
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** The first MiB of the body; complete when the response has begun. */
  body: Buffer
  /** What the upstream answered, or the fault in its stead; undefined while, or if, neither has. */
  status: number | undefined
  /** Bytes of the answer's body that the upstream has sent here, whether or not anyone still wanted them. */
  sent: number
}

export type Fault =
  /** The connection is cut; the upstream never hears of the request. */
  | 'drop request'
  /** The upstream handles the request; the connection is cut instead of answering. */
  | 'drop response'
  /** The request waits here, before the upstream, until released. */
  | 'hold request'
  /** The upstream handles the request; its answer waits here until released. */
  | 'hold response'
  | Delay
  | BodyCut
  | BodySwap
  | Answer

/** As the holds, but for a time. A request goes on to the upstream even if who asked has given up by then. */
export interface Delay {
  hold: 'request' | 'response'
  ms: number
}

/**
 * So many bytes of the response's body pass, and less than all of it; then the connection is reset, or the body ends
 * as if it were whole. A stream of events meets it when it has become that long.
 */
export interface BodyCut {
  cutBody: 'reset' | 'end'
  after: number
}

/** The upstream handles the request. Its answer passes with its status and headers, and another body. */
export interface BodySwap {
  swapBody: string
}

/** Answered here. The upstream never hears of the request, unless `applied`: then it handles it first. */
export interface Answer {
  status: number
  headers?: Record<string, string>
  body?: string
  applied?: boolean
}

export interface Exchange {
  readonly upstream: URL
  readonly agent: Agent
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly recorded: RecordedRequest
  readonly fault: Fault | undefined
  /** The request has met its fault. */
  readonly met: () => void
  /** Resolves when a hold without a time is over. */
  readonly released: Promise<void>
  /** Aborted: whatever waits here never goes on. */
  readonly abandoned: AbortSignal
}

const BODY_CAP = 1024 * 1024

export function record(incoming: IncomingMessage): RecordedRequest {
  // The path as it was sent: `new URL` would resolve the dots that some tests are about
  const [path = '', ...query] = (incoming.url ?? '').split('?')
  const recorded: RecordedRequest = {
    at: performance.now(),
    method: incoming.method ?? '',
    path,
    query: new URLSearchParams(query.join('?')),
    headers: incoming.headers,
    body: Buffer.alloc(0),
    status: undefined,
    sent: 0,
  }
  incoming.on('data', (chunk: Buffer) => {
    recorded.body = Buffer.concat([recorded.body, chunk.subarray(0, BODY_CAP - recorded.body.length)])
  })
  incoming.pause() // until it is piped on: listening for data alone would let it flow
  return recorded
}

/** Resolves when nothing of it waits here any more: the upstream has had its part, or never will. */
export async function serve(exchange: Exchange): Promise<void> {
  const { fault, incoming } = exchange
  if (fault === undefined) return pass(exchange)
  if (fault === 'drop request') {
    exchange.met()
    return cutOff(exchange)
  }
  try {
    // Whole, before anything else: who asked may be gone when the upstream's turn comes
    const body = await bodyOf(incoming)
    if (isAnswer(fault) && !fault.applied) return answer(exchange, fault)
    if (holds(fault, 'request')) await hold(exchange)
    const response = await ask(exchange, body)
    exchange.recorded.status = response.statusCode
    count(exchange, response)
    await respond(exchange, fault, response)
  } catch {
    cutOff(exchange) // the upstream, the asker or the proxy's owner has cut it
  }
}

/** Without a fault: nothing is kept, and either side's end is the other's. */
function pass(exchange: Exchange): void {
  const { incoming, outgoing, recorded } = exchange
  const onward = open(exchange)
  // An upstream that goes away looks to the asker as it would without us: the connection is lost
  onward.on('error', () => cutOff(exchange))
  onward.on('response', (response) => {
    recorded.status = response.statusCode
    count(exchange, response)
    begin(exchange, response)
    pipeline(response, outgoing, (error) => {
      if (error) cutOff(exchange)
    })
  })
  // Who asked has gone: the upstream may stop too
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) onward.destroy()
  })
  incoming.pipe(onward)
}

async function respond(
  exchange: Exchange,
  fault: Exclude<Fault, 'drop request'>,
  response: IncomingMessage,
): Promise<void> {
  if (fault === 'drop response' || isAnswer(fault) || isSwap(fault)) {
    // An event stream has no end to wait for
    if (isLive(response)) response.destroy()
    else await drain(response)
    if (isAnswer(fault)) return answer(exchange, fault)
    if (isSwap(fault)) return swap(exchange, fault, response)
    exchange.met()
    return cutOff(exchange)
  }
  if (holds(fault, 'response')) await hold(exchange)
  begin(exchange, response)
  // Not awaited: a stream of events may never become that long
  if (typeof fault === 'object' && 'cutBody' in fault)
    return void cutShort(exchange, fault, response).catch(() => cutOff(exchange))
  pipeline(response, exchange.outgoing, (error) => {
    if (error) cutOff(exchange)
  })
}

const isAnswer = (fault: Fault): fault is Answer => typeof fault === 'object' && 'status' in fault
const isSwap = (fault: Fault): fault is BodySwap => typeof fault === 'object' && 'swapBody' in fault
const holds = (fault: Fault, what: 'request' | 'response') =>
  fault === `hold ${what}` || (typeof fault === 'object' && 'hold' in fault && fault.hold === what)
const isLive = (response: IncomingMessage) => response.headers['content-type']?.startsWith('text/event-stream')

function cutOff({ incoming }: Exchange): void {
  incoming.socket.destroy()
}

/** Rejects if the proxy's owner abandons what is held. */
async function hold({ fault, met, released, abandoned }: Exchange): Promise<void> {
  met()
  if (typeof fault === 'object' && 'hold' in fault) return sleep(fault.ms, undefined, { signal: abandoned })
  const gone = Promise.withResolvers<never>()
  abandoned.addEventListener('abort', () => gone.reject(abandoned.reason), { once: true })
  await Promise.race([released, gone.promise])
}

function count({ recorded }: Exchange, response: IncomingMessage): void {
  response.on('data', (chunk: Buffer) => (recorded.sent += chunk.length))
  response.pause() // until it is piped on: listening for data alone would let it flow
}

function open({ agent, upstream, incoming, abandoned }: Exchange): ClientRequest {
  return request({
    agent,
    host: upstream.hostname,
    port: upstream.port,
    method: incoming.method,
    path: incoming.url,
    headers: incoming.headers, // the host too: absolute links in answers then lead back here
    signal: abandoned,
  })
}

function ask(exchange: Exchange, body: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const onward = open(exchange)
    onward.on('error', reject)
    onward.on('response', resolve)
    onward.end(body)
  })
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

async function drain(response: IncomingMessage): Promise<void> {
  for await (const _ of response) {
    // the chunks are dropped
  }
}

const OF_THE_BODY = new Set(['transfer-encoding', 'content-encoding'])

function begin({ fault, outgoing }: Exchange, response: IncomingMessage): void {
  const isCut = typeof fault === 'object' && 'cutBody' in fault && fault.cutBody === 'end'
  const body = fault !== undefined && isSwap(fault) ? fault.swapBody : undefined
  const headers = response.rawHeaders.slice()
  // A body that is not the upstream's can seem whole only if nothing has told what the upstream's is like
  for (let i = isCut || body !== undefined ? headers.length - 2 : -1; i >= 0; i -= 2) {
    const name = headers[i]?.toLowerCase() ?? ''
    if (name === 'content-length' || (body !== undefined && OF_THE_BODY.has(name))) headers.splice(i, 2)
  }
  if (body !== undefined) headers.push('content-length', String(Buffer.byteLength(body)))
  outgoing.writeHead(response.statusCode ?? 502, response.statusMessage, headers)
  outgoing.flushHeaders() // an event stream that is still silent has begun all the same
}

async function cutShort(
  { incoming, outgoing, met }: Exchange,
  { cutBody, after }: BodyCut,
  response: IncomingMessage,
): Promise<void> {
  outgoing.once('close', () => response.destroy())
  let left = Math.min(after, Number(response.headers['content-length'] ?? Number.POSITIVE_INFINITY) - 1)
  for await (const chunk of response as AsyncIterable<Buffer>) {
    // Passed on before the reset, which would overtake it
    await new Promise((resolve) => outgoing.write(chunk.subarray(0, Math.max(0, left)), resolve))
    left -= chunk.length
    if (left < 0) break
  }
  if (left < 0) met()
  if (left < 0 && cutBody === 'reset') incoming.socket.resetAndDestroy()
  else outgoing.end()
}

function swap(exchange: Exchange, { swapBody }: BodySwap, response: IncomingMessage): void {
  begin(exchange, response)
  exchange.outgoing.end(swapBody)
  exchange.met()
}

function answer({ outgoing, recorded, met }: Exchange, { status, headers, body }: Answer): void {
  recorded.status = status
  outgoing.writeHead(status, headers)
  outgoing.end(body)
  met()
}
