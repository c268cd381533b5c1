// A transparent reverse proxy that counts requests and makes faults. A WebSocket is a request that lasts. Before an upstream it shows the Worker's requests. Before the
// Worker it is a client's network, which can go away.
import { setMaxListeners } from 'node:events'
import { Agent, createServer, type RequestListener } from 'node:http'
import { type Fault, type RecordedRequest, record, serve } from './exchange.ts'
import { listen } from './listen.ts'
import { handleUpgrades } from './upgrade.ts'

/** Selects requests by method, by a part of the path, and by whether and how they follow a stream. */
export interface RequestFilter {
  method?: string
  path?: string
  live?: 'websocket' | 'sse' | 'long-poll' | 'any' | 'none'
}

export interface ArmedFault {
  /** Resolves once a request has met the fault. With a hold, it resolves when the request waits. */
  readonly met: Promise<RecordedRequest>
  /** Lets a held request go on, and disarms a fault that no request has met. */
  release(): void
}

export interface CountingProxy {
  /** Replaces the upstream's URL, with its path. */
  readonly url: string
  /** All requests since the start or the last `clear`, in order of arrival. */
  readonly requests: readonly RecordedRequest[]
  count(filter?: RequestFilter): number
  clear(): void
  /** Only the next matching request meets the fault. Faults that were armed first come first. */
  next(filter: RequestFilter, fault: Fault): ArmedFault
  /**
   * From now on `decide` chooses the fault of each request that no `next` waits for; `met` hears of those that bit.
   * Without arguments no request meets a fault any more.
   */
  inject(
    decide?: (request: RecordedRequest) => Fault | undefined,
    met?: (fault: Fault, request: RecordedRequest) => void,
  ): void
  /** Resolves once no request with a fault waits here, neither to go on nor for its answer. */
  settled(): Promise<void>
  /** Cuts all requests under way on both sides, and forgets held ones: none reaches the upstream later. */
  abandon(): void
  /** Offline, the proxy cuts every connection, and each new one at once. */
  setOnline(online: boolean): void
  /** Lets nothing pass any more on the sockets that are open now. Their connections stay. */
  silenceSockets(): void
  stop(): Promise<void>
}

export async function startCountingProxy(upstreamUrl: string, options: { port?: number } = {}): Promise<CountingProxy> {
  const upstream = new URL(upstreamUrl)
  // Idle connections end soon, because the Rust server waits for them when it stops
  const agent = new Agent({ keepAlive: true, timeout: 500 })
  const requests: RecordedRequest[] = []
  const faults: PendingFault[] = []
  const faulty = new Set<Promise<void>>()
  let injection: Parameters<CountingProxy['inject']> = []
  let life = new AbortController()
  let silence = new AbortController()
  let online = true
  setMaxListeners(0, life.signal, silence.signal)

  const choose = (recorded: RecordedRequest): PendingFault | undefined => {
    const index = faults.findIndex(({ filter }) => matches(recorded, filter))
    if (index >= 0) return faults.splice(index, 1)[0]
    const [decide, met] = injection
    const fault = decide?.(recorded)
    if (fault === undefined) return undefined
    const pending = new PendingFault({}, fault)
    void pending.met.promise.then(() => met?.(fault, recorded))
    return pending
  }
  const handle: RequestListener = (incoming, outgoing) => {
    const recorded = record(incoming)
    requests.push(recorded)
    const pending = choose(recorded)
    const served = serve({
      upstream,
      agent,
      incoming,
      outgoing,
      recorded,
      fault: pending?.fault,
      met: () => pending?.met.resolve(recorded),
      released: pending?.released.promise ?? Promise.resolve(),
      abandoned: life.signal,
      silenced: silence.signal,
    })
    if (pending === undefined) return
    faulty.add(served)
    void served.finally(() => faulty.delete(served))
  }
  const server = createServer(handle)
  handleUpgrades(server, handle)
  server.on('connection', (socket) => {
    if (!online) socket.destroy()
  })
  // A test may hold a request or follow a stream without a limit
  server.requestTimeout = 0
  const { url, cut, stop } = await listen(server, options.port)
  return {
    url: `${url}${upstream.pathname.replace(/\/$/, '')}`,
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
    inject(...args) {
      injection = args
    },
    async settled() {
      while (faulty.size > 0) await Promise.all(faulty)
    },
    abandon() {
      life.abort()
      life = new AbortController()
      setMaxListeners(0, life.signal)
      cut()
    },
    setOnline(value) {
      online = value
      if (!online) cut()
    },
    silenceSockets() {
      silence.abort()
      silence = new AbortController()
      setMaxListeners(0, silence.signal)
    },
    async stop() {
      agent.destroy()
      await stop()
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

export function matches(request: RecordedRequest, { method, path, live }: RequestFilter): boolean {
  const mode = request.query.get('live')
  return (
    (method === undefined || request.method === method) &&
    (path === undefined || request.path.includes(path)) &&
    (live === undefined || (live === 'any' ? mode !== null : (mode ?? 'none') === live))
  )
}
