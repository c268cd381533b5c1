/** Two modes go to the log's own server: `hybrid` reads there, `direct` writes there, too. */
import { makeDirectWriter } from './direct-push.ts'
import { upstreamEndpoint } from './endpoints.ts'
import type { DirectOptions, HybridOptions, Settings, SyncBackendOptions } from './options.ts'
import { type BareLog, type LogIdentity, type Route, type StoreArgs, type WorkerRoute, workerRoute } from './route.ts'
import { makeTransport } from './transport.ts'
import { makeUpstream, type Upstream } from './upstream.ts'

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const bareRoute = async (
  options: SyncBackendOptions & (HybridOptions | DirectOptions),
  settings: Settings,
  store: StoreArgs,
): Promise<Route> => {
  const { tenant = 'default', upstream: access, fetch } = options
  // The app's token is for the Worker, and for nobody else.
  const transport = makeTransport({ party: 'log', fetch, headers: access.headers, authToken: undefined })
  const upstream = makeUpstream(transport, await upstreamEndpoint(access.url, tenant, store.storeId), settings)
  return options.mode === 'hybrid' ? hybridRoute(workerRoute(options, settings, store), upstream) : directRoute(upstream, settings)
}

const hybridRoute = ({ route, identify, create }: WorkerRoute, upstream: Upstream): Route => {
  const { url, transport, implicitId } = upstream
  const { askBackendId } = route.source
  const bare: BareLog = {
    implicitId,
    // While the Worker does not say, reading goes on: then the log itself is asked, though a cache may stand before it.
    identify: (signal) => identify(signal).catch(() => identityIn(upstream, signal)),
    create,
    onTail: () => {},
    onLost: () => {},
    onBroken: () => {},
  }
  return { ...route, source: { url, transport, askBackendId, bare } }
}

const directRoute = (upstream: Upstream, settings: Settings): Route => {
  const { url, transport, implicitId } = upstream
  const writer = makeDirectWriter(upstream, settings.pingTimeout)
  const bare: BareLog = {
    implicitId,
    identify: (signal) => identityIn(upstream, signal),
    create: async (signal) => void (await upstream.create(signal)),
    onTail: writer.saw,
    onLost: writer.doubt,
    onBroken: writer.distrust,
  }
  return {
    source: { url, transport, askBackendId: async (signal) => (await bare.identify(signal)).backendId, bare },
    makeWriter: writer.writerFor,
    ping: upstream.ping,
  }
}

const identityIn = async ({ check }: Upstream, signal?: AbortSignal): Promise<LogIdentity> => {
  const reply = await check(signal)
  return reply._tag === 'Checked' ? { backendId: reply.backendId, tail: reply.tail } : { backendId: undefined, tail: undefined }
}
