// The real parts that a test file needs, behind the client's network: `network` stands before the Worker, and `bypass` before
// the upstream, for clients that go there directly.
import type { DirectOptions, HybridOptions, ProxyOptions } from '../../../client/src/index.ts'
import {
  type CountingProxy,
  type Server,
  startCountingProxy,
  startRustUpstream,
  startWorker,
} from '../../harness/index.ts'

export interface World {
  readonly upstream: Server
  readonly worker: Server
  /** The way to the Worker. counting-proxy.ts can break it. */
  readonly network: CountingProxy
  /** The way to the upstream without the Worker. */
  readonly bypass: CountingProxy
  /** The options of a client in this mode. */
  readonly access: (mode: Mode) => Access
  /** A new store. */
  newStore(): string
  /** The store's stream at the upstream, past the Worker. */
  readonly atUpstream: (storeId: string) => UpstreamStream
  stop(): Promise<void>
}

export interface UpstreamStream {
  readonly messages: () => Promise<unknown[]>
  /** Appends without the fence, as a foreign tool would. */
  readonly append: (messages: readonly unknown[]) => Promise<void>
  readonly remove: () => Promise<void>
}

export type Mode = 'proxy' | 'hybrid' | 'direct'
export type Access = ProxyOptions | HybridOptions | DirectOptions
export const modes: readonly Mode[] = ['proxy', 'hybrid', 'direct']

/** `vars` override those of wrangler.toml. */
export const startWorld = async (vars: Record<string, string> = {}): Promise<World> => {
  const upstream = await startRustUpstream()
  const worker = await startWorker({ upstreamUrl: upstream.url, vars })
  const network = await startCountingProxy(worker.url)
  const bypass = await startCountingProxy(upstream.url)
  const run = Math.random().toString(36).slice(2, 8)
  let stores = 0
  return {
    upstream,
    worker,
    network,
    bypass,
    access: (mode) => {
      if (mode === 'proxy') return { url: network.url }
      if (mode === 'hybrid') return { mode, url: network.url, upstream: { url: bypass.url } }
      return { mode, upstream: { url: bypass.url } }
    },
    newStore: () => `store-${run}-${++stores}`,
    atUpstream: (storeId) => upstreamStream(`${upstream.url}/default/${storeId}`),
    stop: async () => {
      await network.stop()
      await bypass.stop()
      await worker.stop()
      await upstream.stop()
    },
  }
}

export const upstreamStream = (url: string): UpstreamStream => {
  const ask = async (init: RequestInit, query = '') => {
    const response = await fetch(`${url}${query}`, init)
    if (!response.ok) throw new Error(`${init.method} ${url}: ${response.status} ${await response.text()}`)
    return response
  }
  return {
    messages: async () => (await ask({}, '?offset=-1')).json() as Promise<unknown[]>,
    append: async (messages) => {
      const headers = { 'content-type': 'application/json' }
      await ask({ method: 'POST', headers, body: JSON.stringify(messages) })
    },
    remove: async () => void (await ask({ method: 'DELETE' })),
  }
}
