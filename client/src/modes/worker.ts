/** Proxy mode: the Worker reads and writes the log. Hybrid mode writes so. */
import { unvouched, vouchedHead } from '../http/authenticity.ts'
import { workerEndpoint } from '../http/endpoints.ts'
import { authTokenOf, makeTransport, noStore } from '../http/transport.ts'
import type { Settings, SyncBackendOptions } from '../options.ts'
import { BACKEND_ID_HEADER, incarnationUrl, NEXT_OFFSET } from '../protocol/index.js'
import type { DirectLog, LogIdentity } from '../reading/source.ts'
import { makeStoreSocket } from '../socket/store-socket.ts'
import { makeWorkerPush } from '../writing/worker-push.ts'
import type { Route, StoreArgs } from './route.ts'

export interface WorkerRoute {
  readonly route: Route
  readonly identify: DirectLog['identify']
  readonly create: (signal?: AbortSignal) => Promise<void>
}

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const workerRoute = (
  options: SyncBackendOptions,
  settings: Settings,
  { storeId, payload }: StoreArgs,
): WorkerRoute => {
  const { fetch, headers, url: base = '', tenant = 'default', mode } = options
  const url = workerEndpoint(base, tenant, storeId)
  const transport = makeTransport({ party: 'worker', fetch, headers, authToken: authTokenOf(payload) })

  const ask = async (method: 'HEAD' | 'PUT', timeoutMs: number, signal?: AbortSignal): Promise<LogIdentity> => {
    // Not every cache on the way heeds `no-store`.
    const answer = await transport.request(
      `${url}?nonce=${Math.random().toString(36).slice(2)}`,
      { method, ...noStore() },
      { timeoutMs, signal },
    )
    if (vouchedHead(answer) === undefined) throw unvouched(answer)
    const { headers } = answer
    const backendId = headers.get(BACKEND_ID_HEADER) ?? undefined
    return { backendId, tail: backendId === undefined ? undefined : (headers.get(NEXT_OFFSET) ?? undefined) }
  }
  const identify = (signal?: AbortSignal) => ask('HEAD', settings.pushTimeoutMs, signal)
  const askBackendId = async (signal?: AbortSignal) => (await identify(signal)).backendId

  const WebSocket = webSocketOf(options)
  // Hybrid mode reads at the log's own server, which has no sockets.
  const socket =
    mode === 'hybrid' || settings.liveMode !== 'websocket' || WebSocket === undefined
      ? undefined
      : makeStoreSocket({ url, transport, limits: settings, WebSocket })

  const route: Route = {
    source: {
      url,
      urlOfIncarnation: (backendId) => incarnationUrl(url, backendId) ?? url,
      transport,
      askBackendId,
      socket,
      directLog: undefined,
    },
    makeWriter: (backendId) =>
      makeWorkerPush({ url, transport, backendId, askBackendId, timeoutMs: settings.pushTimeoutMs, socket }),
    ping: async (timeoutMs, signal) => void (await ask('HEAD', timeoutMs, signal)),
  }
  return { route, identify, create: async (signal) => void (await ask('PUT', settings.pushTimeoutMs, signal)) }
}

/** An app that makes the requests itself must also give the sockets, or use none. */
const webSocketOf = ({ fetch, WebSocket }: SyncBackendOptions): typeof globalThis.WebSocket | undefined =>
  WebSocket ?? (fetch === undefined ? globalThis.WebSocket : undefined)
