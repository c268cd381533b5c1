/** The two modes that go to the log's own server: `hybrid` reads there, and `direct` also writes there. */
import { makeDirectWriter } from '../direct/direct-push.ts'
import { makeUpstream, type Upstream } from '../direct/upstream.ts'
import { upstreamEndpoint } from '../http/endpoints.ts'
import { makeTransport } from '../http/transport.ts'
import type { DirectOptions, HybridOptions, Settings, SyncBackendOptions } from '../options.ts'
import type { DirectLog, LogIdentity } from '../reading/source.ts'
import type { Route, StoreArgs } from './route.ts'
import { type WorkerRoute, workerRoute } from './worker.ts'

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const directLogRoute = async (
  options: SyncBackendOptions & (HybridOptions | DirectOptions),
  settings: Settings,
  store: StoreArgs,
): Promise<Route> => {
  const { tenant = 'default', upstream: access, fetch } = options
  // The app's token is for the Worker, and for nobody else.
  const transport = makeTransport({ party: 'log', fetch, headers: access.headers, authToken: undefined })
  const upstream = makeUpstream(transport, await upstreamEndpoint(access.url, tenant, store.storeId), settings)
  return options.mode === 'hybrid'
    ? hybridRoute(workerRoute(options, settings, store), upstream)
    : directRoute(upstream, settings)
}

const hybridRoute = ({ route, identify, create }: WorkerRoute, upstream: Upstream): Route => {
  const { url, transport, implicitId } = upstream
  const { askBackendId } = route.source
  const directLog: DirectLog = {
    implicitId,
    // Reading goes on while the Worker does not answer. The provider then asks the log, though a cache may stand before it.
    identify: (signal) => identify(signal).catch(() => identityIn(upstream, signal)),
    create,
    onTail: () => {},
    onLost: () => {},
    onBroken: () => {},
  }
  return {
    ...route,
    source: { url, urlOfIncarnation: undefined, transport, askBackendId, socket: undefined, directLog },
  }
}

const directRoute = (upstream: Upstream, settings: Settings): Route => {
  const { url, transport, implicitId } = upstream
  const writer = makeDirectWriter(upstream, settings.pingTimeoutMs)
  const directLog: DirectLog = {
    implicitId,
    identify: (signal) => identityIn(upstream, signal),
    create: async (signal) => void (await upstream.create(signal)),
    onTail: writer.observeTip,
    onLost: writer.invalidate,
    onBroken: writer.forgetTip,
  }
  return {
    source: {
      url,
      urlOfIncarnation: undefined,
      transport,
      askBackendId: async (signal) => (await directLog.identify(signal)).backendId,
      socket: undefined,
      directLog,
    },
    makeWriter: writer.writerFor,
    ping: upstream.ping,
  }
}

const identityIn = async ({ check }: Upstream, signal?: AbortSignal): Promise<LogIdentity> => {
  const reply = await check(signal)
  return reply._tag === 'Checked'
    ? { backendId: reply.backendId, tail: reply.tail }
    : { backendId: undefined, tail: undefined }
}
