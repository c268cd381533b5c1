// A transparent reverse proxy that counts what passes and breaks what it is told to. Put before an upstream it shows
// what the Worker asks of it; put before the Worker it is a client's network, which can go away.
import { Agent, createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { pipeline } from 'node:stream'

export interface RecordedRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** The first MiB of the body; complete when the response has begun. */
  body: Buffer
  /** What the upstream answered, or the fault in its stead; undefined while, or if, there is no answer. */
  status: number | undefined
}

/** Which requests: by method, and by a part of the path. */
export interface RequestFilter {
  method?: string
  path?: string
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
  /** Answered here; the upstream never hears of the request. */
  | { status: number; headers?: Record<string, string>; body?: string }

export interface ArmedFault {
  /** Resolves once a request has met the fault: at a hold, when it waits. */
  readonly met: Promise<RecordedRequest>
  /** Lets a held one go on, and disarms a fault nothing has met. */
  release(): void
}

export interface CountingProxy {
  /** Stands for the upstream's URL, path included. */
  readonly url: string
  /** Everything asked since the start or the last `clear`, in order of arrival. */
  readonly requests: readonly RecordedRequest[]
  count(filter?: RequestFilter): number
  clear(): void
  /** The next matching request meets the fault, and only that one. Faults armed first are met first. */
  next(filter: RequestFilter, fault: Fault): ArmedFault
  /** Off: every connection is cut and each new one at once. */
  setOnline(online: boolean): void
  stop(): Promise<void>
}

const BODY_CAP = 1024 * 1024

export async function startCountingProxy(upstreamUrl: string, options: { port?: number } = {}): Promise<CountingProxy> {
  const upstream = new URL(upstreamUrl)
  // Idle connections go soon: the Rust server waits for them when it is stopped
  const agent = new Agent({ keepAlive: true, timeout: 500 })
  const sockets = new Set<Socket>()
  const requests: RecordedRequest[] = []
  const faults: PendingFault[] = []
  let online = true

  const server = createServer((incoming, outgoing) => {
    const recorded = record(incoming)
    requests.push(recorded)
    const index = faults.findIndex(({ filter }) => matches(recorded, filter))
    const [pending] = index < 0 ? [] : faults.splice(index, 1)
    serve({ upstream, agent }, incoming, outgoing, recorded, pending)
  })
  server.on('connection', (socket) => {
    if (!online) return socket.destroy()
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  // A test may hold a request, or follow a stream, for as long as it likes
  server.requestTimeout = 0
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })

  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${upstream.pathname.replace(/\/$/, '')}`,
    requests,
    count: (filter = {}) => requests.filter((request) => matches(request, filter)).length,
    clear: () => void requests.splice(0),
    next(filter, fault) {
      const pending = new PendingFault(filter, fault)
      faults.push(pending)
      return {
        met: pending.met.promise,
        release() {
          if (faults.includes(pending)) faults.splice(faults.indexOf(pending), 1)
          pending.released.resolve()
        },
      }
    },
    setOnline(value) {
      online = value
      if (!online) cut()
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      cut()
      agent.destroy()
      await closed
    },
  }
}

class PendingFault {
  readonly met = Promise.withResolvers<RecordedRequest>()
  readonly released = Promise.withResolvers<void>()
  readonly filter: RequestFilter
  readonly fault: Fault
  constructor(filter: RequestFilter, fault: Fault) {
    this.filter = filter
    this.fault = fault
  }
}

function matches(request: RecordedRequest, { method, path }: RequestFilter): boolean {
  return (method === undefined || request.method === method) && (path === undefined || request.path.includes(path))
}

function record(incoming: IncomingMessage): RecordedRequest {
  // The path as it was sent: `new URL` would resolve the dots that some tests are about
  const [path = '', ...query] = (incoming.url ?? '').split('?')
  const recorded: RecordedRequest = {
    method: incoming.method ?? '',
    path,
    query: new URLSearchParams(query.join('?')),
    headers: incoming.headers,
    body: Buffer.alloc(0),
    status: undefined,
  }
  incoming.on('data', (chunk: Buffer) => {
    recorded.body = Buffer.concat([recorded.body, chunk.subarray(0, BODY_CAP - recorded.body.length)])
  })
  incoming.pause() // until it is piped on: listening for data alone would let it flow
  return recorded
}

interface Target {
  upstream: URL
  agent: Agent
}

async function serve(
  { upstream, agent }: Target,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  recorded: RecordedRequest,
  pending: PendingFault | undefined,
): Promise<void> {
  const fault = pending?.fault
  if (fault === 'drop request') {
    pending?.met.resolve(recorded)
    return void incoming.socket.destroy()
  }
  if (typeof fault === 'object') return answer(fault, incoming, outgoing, recorded, pending)
  if (fault === 'hold request') {
    pending?.met.resolve(recorded)
    await pending?.released.promise
  }

  const onward = request({
    agent,
    host: upstream.hostname,
    port: upstream.port,
    method: incoming.method,
    path: incoming.url,
    headers: incoming.headers, // the host too: absolute links in answers then lead back here
  })
  // An upstream that goes away looks to the asker as it would without us: the connection is lost
  onward.on('error', () => incoming.socket.destroy())
  onward.on('response', async (response) => {
    if (fault === 'drop response') {
      response.resume()
      await new Promise((resolve) => response.once('close', resolve))
      pending?.met.resolve(recorded)
      return void incoming.socket.destroy()
    }
    if (fault === 'hold response') {
      pending?.met.resolve(recorded)
      await pending?.released.promise
    }
    recorded.status = response.statusCode
    outgoing.writeHead(response.statusCode ?? 502, response.statusMessage, response.rawHeaders)
    outgoing.flushHeaders() // an event stream that is still silent has begun all the same
    pipeline(response, outgoing, (error) => {
      if (error) incoming.socket.destroy()
    })
  })
  // Who asked has gone: the upstream may stop too. Not under a fault, whose point is that the upstream finishes.
  outgoing.once('close', () => {
    if (!outgoing.writableFinished && fault === undefined) onward.destroy()
  })
  incoming.pipe(onward)
}

function answer(
  { status, headers, body }: Exclude<Fault, string>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  recorded: RecordedRequest,
  pending: PendingFault | undefined,
): void {
  incoming.resume()
  incoming.once('end', () => {
    recorded.status = status
    outgoing.writeHead(status, headers)
    outgoing.end(body)
    pending?.met.resolve(recorded)
  })
}
