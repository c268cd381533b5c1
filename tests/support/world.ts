// The real parts that a test file needs, behind the client's network: `network` stands before the Worker, and `bypass` before
// the upstream, for clients that go there directly.

import type { DirectOptions, HybridOptions, ProxyOptions } from '../../client/src/index.ts'
import {
  type CountingProxy,
  noUpstream,
  type Server,
  startCountingProxy,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'
import { Store } from './store.ts'

export interface World {
  readonly upstream: Server
  readonly worker: Server
  /** The way to the Worker. counting-proxy.ts can break it. */
  readonly network: CountingProxy
  /** The way to the upstream without the Worker. */
  readonly bypass: CountingProxy
  /** Another way to the Worker, or to another server, for a client that a test cuts off alone. */
  readonly newNetwork: (to?: Server) => Promise<CountingProxy>
  /** The options of a client in this mode. */
  readonly access: (mode: Mode) => Access
  /** A new store. */
  readonly newStore: () => string
  /** The store at the Worker, past the network. */
  readonly atWorker: (storeId: string) => Store
  /** The store's stream at the upstream, past the Worker. */
  readonly atUpstream: (storeId: string, tenant?: string) => UpstreamStream
  readonly stop: () => Promise<void>
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

/** The options of a client whose ways to the Worker and to the upstream are these. */
export const accessBy = (mode: Mode, network: CountingProxy, bypass: CountingProxy): Access => {
  if (mode === 'proxy') return { url: network.url }
  if (mode === 'hybrid') return { mode, url: network.url, upstream: { url: bypass.url } }
  return { mode, upstream: { url: bypass.url } }
}

interface WorldOptions {
  /** These override those of wrangler.toml. */
  readonly vars?: Record<string, string>
  /** The world stops it. By default the world starts the Rust server. With {@link noUpstream} the log is built in, and there is no way past the Worker. */
  readonly upstream?: Server
  /** The Worker's way to the upstream. */
  readonly upstreamUrl?: string
  /** The Worker keeps its data here. */
  readonly persistTo?: string
}

export const startWorld = async ({ vars = {}, ...options }: WorldOptions = {}): Promise<World> => {
  const upstream = options.upstream ?? (await startRustUpstream())
  const { upstreamUrl = upstream.url, persistTo } = options
  const worker = await startWorker({ upstreamUrl, vars, ...(persistTo === undefined ? {} : { persistTo }) })
  const networks: CountingProxy[] = []
  const newNetwork = async (to = worker) => {
    const network = await startCountingProxy(to.url)
    networks.push(network)
    return network
  }
  const isBuiltIn = upstream === noUpstream
  const [network, bypass] = [await newNetwork(), await newNetwork(isBuiltIn ? worker : upstream)]
  const run = Math.random().toString(36).slice(2, 8)
  let stores = 0
  return {
    upstream,
    worker,
    network,
    bypass,
    newNetwork,
    access: (mode) => accessBy(mode, network, bypass),
    newStore: () => `store-${run}-${++stores}`,
    atWorker: (name) => new Store({ worker, upstream }, { name, tenant: 'default' }),
    atUpstream: (storeId, tenant = 'default') =>
      upstreamStream(`${isBuiltIn ? `${worker.url}/v1/stream` : upstream.url}/${tenant}/${storeId}`),
    stop: async () => {
      for (const network of networks) await network.stop()
      await worker.stop()
      await upstream.stop()
    },
  }
}

const upstreamStream = (url: string): UpstreamStream => {
  const ask = async (init: RequestInit, query = '') => {
    const response = await fetch(`${url}${query}`, init)
    if (!response.ok) throw new Error(`${init.method} ${url}: ${response.status} ${await response.text()}`)
    return response
  }
  return {
    messages: async () => (await ask({}, '?whole=true&offset=-1')).json() as Promise<unknown[]>,
    append: async (messages) => {
      const headers = { 'content-type': 'application/json' }
      await ask({ method: 'POST', headers, body: JSON.stringify(messages) })
    },
    remove: async () => void (await ask({ method: 'DELETE' })),
  }
}
