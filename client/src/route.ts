/**
 * What the three modes differ in: where a store is read, how a chunk is written, and who says whose stream it is. All the
 * rest of the provider is the same for each.
 */
import { Effect } from 'effect'

import { BACKEND_ID_HEADER, type BackendId, noStore } from './backend-id.ts'
import { makeDirectWriter } from './direct-push.ts'
import type { Tip } from './direct-core.ts'
import { upstreamEndpoint, workerEndpoints } from './endpoints.ts'
import type { HttpFailure } from './errors.ts'
import type { Settings, SyncBackendOptions } from './options.ts'
import type { SendChunk } from './push.ts'
import { authTokenOf, makeTransport, type Transport } from './transport.ts'
import { makeUpstream, type Upstream } from './upstream.ts'
import { makeWorkerPush } from './worker-push.ts'

export interface Route {
  readonly source: Source
  /** Whose stream it is now, past every cache; undefined if there is none. */
  readonly askBackendId: Effect.Effect<string | undefined, HttpFailure>
  readonly makeSend: (backendId: BackendId) => SendChunk
  readonly ping: Effect.Effect<void, HttpFailure>
}

/** Where a pull reads. */
export interface Source {
  readonly url: string
  readonly fetch: typeof globalThis.fetch
  /** Set where it is the log's own server, which says and does less than the Worker. */
  readonly bare: BareLog | undefined
}

/**
 * What the Worker says with every answer, and what it does for a read, has to be asked for and done apart here. No head
 * is known, and no seqNum can be read from.
 */
export interface BareLog {
  /** Whose stream it is: an offset beyond the tail of a stream that was made anew is answered without a word of it. */
  readonly identify: Effect.Effect<string | undefined, HttpFailure>
  /** Makes a store's stream, so that a live read hears its first event. */
  readonly create: Effect.Effect<void, HttpFailure>
  readonly idOf: Upstream['idOf']
  /** The log was read to its end. */
  readonly onTail: (tip: Tip) => void
  /** The connection was lost. */
  readonly onLost: () => void
}

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const makeRoute = async (
  options: SyncBackendOptions,
  settings: Settings,
  store: { readonly storeId: string; readonly payload: unknown },
): Promise<Route> => {
  const tenant = options.tenant ?? 'default'
  const toWorker = () => {
    const { url = '', headers } = options
    const transport = makeTransport({ fetch: options.fetch, headers, authToken: authTokenOf(store.payload) })
    return workerRoute(workerEndpoints(url, tenant, store.storeId), transport, settings)
  }
  const toUpstream = async ({ url, headers }: NonNullable<SyncBackendOptions['upstream']>) => {
    // The app's token is for the Worker, and for nobody else.
    const transport = makeTransport({ fetch: options.fetch, headers, authToken: undefined })
    return makeUpstream(transport, await upstreamEndpoint(url, tenant, store.storeId), settings)
  }
  switch (options.mode) {
    case 'hybrid':
      return hybridRoute(toWorker(), await toUpstream(options.upstream))
    case 'direct':
      return directRoute(await toUpstream(options.upstream), settings)
    default:
      return toWorker().route
  }
}

const workerRoute = ({ stream: url, health }: ReturnType<typeof workerEndpoints>, transport: Transport, settings: Settings) => {
  const ask = (init: RequestInit) => transport.request(url, { ...init, ...noStore() }, settings.pushTimeout)
  const route: Route = {
    source: { url, fetch: transport.fetch, bare: undefined },
    askBackendId: Effect.map(ask({ method: 'HEAD' }), ({ headers }) => headers.get(BACKEND_ID_HEADER) ?? undefined),
    makeSend: (backendId) => makeWorkerPush({ url, transport, backendId, timeoutMs: settings.pushTimeout }),
    ping: Effect.asVoid(transport.request(health, { method: 'GET' }, settings.pingTimeout)),
  }
  return { route, create: Effect.asVoid(ask({ method: 'PUT' })) }
}

const hybridRoute = ({ route, create }: ReturnType<typeof workerRoute>, upstream: Upstream): Route => {
  const bare: BareLog = {
    // While the Worker does not say, reading goes on: then the log itself is asked, though a cache may stand before it.
    identify: Effect.orElse(route.askBackendId, () => idInLog(upstream)),
    create,
    idOf: upstream.idOf,
    onTail: () => {},
    onLost: () => {},
  }
  return { ...route, source: { url: upstream.url, fetch: upstream.transport.fetch, bare } }
}

const directRoute = (upstream: Upstream, settings: Settings): Route => {
  const { transport } = upstream
  const writer = makeDirectWriter(upstream)
  const bare: BareLog = {
    identify: idInLog(upstream),
    create: Effect.asVoid(upstream.create),
    idOf: upstream.idOf,
    onTail: writer.saw,
    onLost: writer.doubt,
  }
  return {
    source: { url: upstream.url, fetch: transport.fetch, bare },
    askBackendId: bare.identify,
    makeSend: writer.send,
    ping: upstream.ping(settings.pingTimeout),
  }
}

const idInLog = ({ check }: Upstream): Effect.Effect<string | undefined, HttpFailure> =>
  Effect.map(check, (reply) => (reply._tag === 'Checked' ? reply.backendId : undefined))
