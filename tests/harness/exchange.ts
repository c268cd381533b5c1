// One request's way through the counting proxy, and its possible faults.
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
import { isUpgrade, onReply, type Reply, tunnel } from './upgrade.ts'

export interface RecordedRequest {
  /** The time of its arrival, by `performance.now()`. */
  readonly at: number
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** The first MiB of the body. It is complete when the response has begun. */
  body: Buffer
  /** The status of the upstream's answer or of the fault's; undefined without an answer. */
  status: number | undefined
  /** The bytes of the answer's body, or of a socket, that the upstream has sent, even if the client had left. */
  sent: number
}

export type Fault =
  /** The proxy cuts the connection. The upstream never receives the request. */
  | 'drop request'
  /** The upstream handles the request. The proxy cuts the connection instead of answering. */
  | 'drop response'
  /** The request waits here, before the upstream, until the test releases it. */
  | 'hold request'
  /** The upstream handles the request. Its answer waits here until the test releases it. */
  | 'hold response'
  | Delay
  | BodyCut
  | BodySwap
  | Answer

/** A hold for a time. The request goes on to the upstream even if the client has given up by then. */
export interface Delay {
  hold: 'request' | 'response'
  ms: number
}

/**
 * So many bytes of the response's body pass, fewer than all. Then the proxy resets the connection, ends the body as if it were
 * whole, or keeps the connection and lets nothing pass any more. A stream of events, or a socket, meets this fault once it is
 * that long. A silent socket is silent in both directions.
 */
export interface BodyCut {
  cutBody: 'reset' | 'end' | 'silence'
  after: number
}

/** The upstream handles the request. Its status and headers pass, with another body. On a socket, the body is no frame. */
export interface BodySwap {
  swapBody: string
}

/** The proxy answers. The upstream receives the request only if `applied`, and then handles it first. */
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
  /** Resolves when the test releases a hold. */
  readonly released: Promise<void>
  /** Aborted, no waiting request ever goes on. */
  readonly abandoned: AbortSignal
  /** Aborted, an open socket is silent. */
  readonly silenced: AbortSignal
}

const BODY_CAP = 1024 * 1024

export function record(incoming: IncomingMessage): RecordedRequest {
  // The path as the client sent it. `new URL` would resolve the dots that some tests send
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
  incoming.pause() // until it is piped on, because a listener for data alone would let it flow
  return recorded
}

/** Resolves when nothing of the request waits here any more: the upstream has received it, or never will. */
export async function serve(exchange: Exchange): Promise<void> {
  const { fault, incoming } = exchange
  if (fault === undefined) return pass(exchange)
  if (fault === 'drop request') {
    exchange.met()
    return cutOff(exchange)
  }
  try {
    // The proxy reads the whole body first, because the client may be gone when the request goes on
    const body = isUpgrade(incoming) ? undefined : await bodyOf(incoming)
    if (isAnswer(fault) && !fault.applied) return answer(exchange, fault)
    if (holds(fault, 'request')) await hold(exchange)
    const reply = await ask(exchange, body)
    noted(exchange, reply)
    await respond(exchange, fault, reply)
  } catch {
    cutOff(exchange) // the upstream, the client or the test has cut the exchange
  }
}

/** Passes a request without a fault. The proxy keeps nothing, and the end of one side ends the other. */
function pass(exchange: Exchange): void {
  const { incoming, outgoing } = exchange
  const onward = open(exchange)
  // An upstream that goes away costs the client its connection, as without the proxy
  onward.on('error', () => cutOff(exchange))
  onReply(onward, incoming, (reply) => {
    noted(exchange, reply)
    deliver(exchange, reply)
  })
  // The client has gone, and the upstream may stop, too
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) onward.destroy()
  })
  if (isUpgrade(incoming)) onward.end()
  else incoming.pipe(onward)
}

/** Passes the answer on, or opens the client's socket. */
function deliver(exchange: Exchange, reply: Reply, cut?: BodyCut): void {
  const { response, far } = reply
  if (far !== undefined) {
    openSocket(exchange, { response, far }, cut)
    return
  }
  begin(exchange, response)
  if (cut !== undefined) {
    // The proxy does not wait for it, because a stream of events may never become that long
    void cutShort(exchange, cut, response).catch(() => cutOff(exchange))
    return
  }
  pipeline(response, exchange.outgoing, (error) => {
    if (error) cutOff(exchange)
  })
}

function openSocket(exchange: Exchange, reply: Required<Reply>, cut?: BodyCut): void {
  const { incoming, recorded, met, silenced } = exchange
  tunnel(incoming, reply, {
    silenced,
    onBytes: (count) => (recorded.sent += count),
    ...(cut === undefined ? {} : { after: cut.after }),
    onLimit: ({ silence }) => {
      met()
      if (cut?.cutBody === 'silence') silence()
      else if (cut?.cutBody === 'reset') incoming.socket.resetAndDestroy()
      else incoming.socket.end()
    },
  })
}

async function respond(exchange: Exchange, fault: Exclude<Fault, 'drop request'>, reply: Reply): Promise<void> {
  const { response, far } = reply
  if (fault === 'drop response' || isAnswer(fault) || isSwap(fault)) {
    // An event stream may have no end
    if (far !== undefined) far.destroy()
    else if (isLive(response)) response.destroy()
    else await drain(response)
    if (isAnswer(fault)) return answer(exchange, fault)
    if (isSwap(fault)) return swap(exchange, fault, response)
    exchange.met()
    return cutOff(exchange)
  }
  if (holds(fault, 'response')) await hold(exchange)
  deliver(exchange, reply, typeof fault === 'object' && 'cutBody' in fault ? fault : undefined)
}

const isAnswer = (fault: Fault): fault is Answer => typeof fault === 'object' && 'status' in fault
const isSwap = (fault: Fault): fault is BodySwap => typeof fault === 'object' && 'swapBody' in fault
const holds = (fault: Fault, what: 'request' | 'response') =>
  fault === `hold ${what}` || (typeof fault === 'object' && 'hold' in fault && fault.hold === what)
const isLive = (response: IncomingMessage) => response.headers['content-type']?.startsWith('text/event-stream')

function cutOff({ incoming }: Exchange): void {
  incoming.socket.destroy()
}

/** Rejects if the test abandons the held requests. */
async function hold({ fault, met, released, abandoned }: Exchange): Promise<void> {
  met()
  if (typeof fault === 'object' && 'hold' in fault) return sleep(fault.ms, undefined, { signal: abandoned })
  const gone = Promise.withResolvers<never>()
  abandoned.addEventListener('abort', () => gone.reject(abandoned.reason), { once: true })
  await Promise.race([released, gone.promise])
}

function noted({ recorded }: Exchange, { response, far }: Reply): void {
  recorded.status = response.statusCode
  if (far !== undefined) return
  response.on('data', (chunk: Buffer) => (recorded.sent += chunk.length))
  response.pause() // until it is piped on, because a listener for data alone would let it flow
}

function open({ agent, upstream, incoming, abandoned }: Exchange): ClientRequest {
  return request({
    agent,
    host: upstream.hostname,
    port: upstream.port,
    method: incoming.method,
    path: incoming.url,
    headers: incoming.headers, // with the host, so that absolute links in answers lead back here
    signal: abandoned,
  })
}

function ask(exchange: Exchange, body: Buffer | undefined): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const onward = open(exchange)
    onward.on('error', reject)
    onReply(onward, exchange.incoming, resolve)
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
  // Another body can seem whole only if no header describes the upstream's body
  for (let i = isCut || body !== undefined ? headers.length - 2 : -1; i >= 0; i -= 2) {
    const name = headers[i]?.toLowerCase() ?? ''
    if (name === 'content-length' || (body !== undefined && OF_THE_BODY.has(name))) headers.splice(i, 2)
  }
  if (body !== undefined) headers.push('content-length', String(Buffer.byteLength(body)))
  outgoing.writeHead(response.statusCode ?? 502, response.statusMessage, headers)
  outgoing.flushHeaders() // a silent event stream has begun all the same
}

async function cutShort(
  { incoming, outgoing, met }: Exchange,
  { cutBody, after }: BodyCut,
  response: IncomingMessage,
): Promise<void> {
  outgoing.once('close', () => response.destroy())
  let left = Math.min(after, Number(response.headers['content-length'] ?? Number.POSITIVE_INFINITY) - 1)
  for await (const chunk of response as AsyncIterable<Buffer>) {
    // The last bytes must pass before the reset, which would overtake them
    await new Promise((resolve) => outgoing.write(chunk.subarray(0, Math.max(0, left)), resolve))
    left -= chunk.length
    if (left < 0) break
  }
  if (left < 0) met()
  if (left < 0 && cutBody === 'silence') return
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
