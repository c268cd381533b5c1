/**
 * What the three modes differ in: where a store is read, how a chunk is written, and who says whose stream it is. All the
 * rest of the provider is the same for each.
 */
import type { BackendId } from './backend-id.ts'
import type { Tip } from './direct-core.ts'
import { workerEndpoint } from './endpoints.ts'
import { BACKEND_ID_HEADER, NEXT_OFFSET, unvouched, vouchedHead } from './judge.ts'
import type { Settings, SyncBackendOptions } from './options.ts'
import type { SendChunk } from './push.ts'
import type { ReadSource } from './read.ts'
import { authTokenOf, makeTransport, noStore } from './transport.ts'
import { makeWorkerPush } from './worker-push.ts'

export interface Route {
  readonly source: Source
  readonly makeWriter: (backendId: BackendId) => Writer
  /** Whether the store answers; rejects with an `HttpFailure` if not. */
  readonly ping: (timeoutMs: number, signal?: AbortSignal) => Promise<void>
}

export interface Writer {
  readonly send: SendChunk
  /** Whether pushes get an answer of the server; rejects with an `HttpFailure` if not. It writes nothing. */
  readonly probe: (signal: AbortSignal) => Promise<void>
}

/** Where a pull reads. */
export interface Source extends ReadSource {
  /** Whose stream it is now, past every cache; undefined if there is none. Rejects with an `HttpFailure`. */
  readonly askBackendId: (signal?: AbortSignal) => Promise<string | undefined>
  /** Set where it is the log's own server, which says and does less than the Worker. */
  readonly bare: BareLog | undefined
}

/** Whose log it is, and where it ends; neither is known while there is none. */
export interface LogIdentity {
  readonly backendId: string | undefined
  readonly tail: string | undefined
}

/**
 * What the Worker says with every answer, and what it does for a read, has to be asked for and done apart here. No head
 * is known, and no seqNum can be read from.
 */
export interface BareLog {
  /** The id of a stream without a header. */
  readonly implicitId: string
  /** Whose stream it is: an offset beyond the tail of a stream that was made anew is answered without a word of it. */
  readonly identify: (signal?: AbortSignal) => Promise<LogIdentity>
  /** Makes a store's stream, so that a live read hears its first event. */
  readonly create: (signal?: AbortSignal) => Promise<void>
  /** The log was read to its end. */
  readonly onTail: (tip: Tip) => void
  /** The connection was lost. */
  readonly onLost: () => void
  /** The log was found to be no chain. */
  readonly onBroken: () => void
}

export interface StoreArgs {
  readonly storeId: string
  readonly payload: unknown
}

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const makeRoute = async (options: SyncBackendOptions, settings: Settings, store: StoreArgs): Promise<Route> => {
  if (options.mode !== 'hybrid' && options.mode !== 'direct') return workerRoute(options, settings, store).route
  // Apart, so that an app that goes through the Worker does not load it.
  const { bareRoute } = await import('./direct.ts')
  return bareRoute(options, settings, store)
}

export interface WorkerRoute {
  readonly route: Route
  readonly identify: BareLog['identify']
  readonly create: (signal?: AbortSignal) => Promise<void>
}

/** @throws as above */
export const workerRoute = (options: SyncBackendOptions, settings: Settings, { storeId, payload }: StoreArgs): WorkerRoute => {
  const { fetch, headers, url: base = '', tenant = 'default' } = options
  const url = workerEndpoint(base, tenant, storeId)
  const transport = makeTransport({ party: 'worker', fetch, headers, authToken: authTokenOf(payload) })

  const ask = async (method: 'HEAD' | 'PUT', timeoutMs: number, signal?: AbortSignal): Promise<LogIdentity> => {
    // Not every cache on the way heeds `no-store`.
    const answer = await transport.request(`${url}?nonce=${Math.random().toString(36).slice(2)}`, { method, ...noStore() }, { timeoutMs, signal })
    if (vouchedHead(answer) === undefined) throw unvouched(answer)
    const { headers } = answer
    return { backendId: headers.get(BACKEND_ID_HEADER) ?? undefined, tail: headers.get(NEXT_OFFSET) ?? undefined }
  }
  const identify = (signal?: AbortSignal) => ask('HEAD', settings.pushTimeout, signal)
  const askBackendId = async (signal?: AbortSignal) => (await identify(signal)).backendId

  const route: Route = {
    source: { url, transport, askBackendId, bare: undefined },
    makeWriter: (backendId) => makeWorkerPush({ url, transport, backendId, askBackendId, timeoutMs: settings.pushTimeout }),
    ping: async (timeoutMs, signal) => void (await ask('HEAD', timeoutMs, signal)),
  }
  return { route, identify, create: async (signal) => void (await ask('PUT', settings.pushTimeout, signal)) }
}
