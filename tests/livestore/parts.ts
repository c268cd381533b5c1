// The real parts with a proxy on either side of the Worker, and their data in folders that a test can wipe and restore.
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type CountingProxy,
  type Server,
  startCountingProxy,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'
import { type UpstreamStream, upstreamStream } from '../provider/support/world.ts'
import type { TestStore } from './support.ts'

export interface Parts {
  readonly upstream: Server
  /** Between the Worker and the upstream. */
  readonly between: CountingProxy
  readonly worker: Server
  /** The clients' network. */
  readonly network: CountingProxy
  /** Another way to the Worker, for a client that a test cuts off alone. */
  readonly newNetwork: () => Promise<CountingProxy>
  /** The folder of the devices' disks. */
  readonly disks: string
  /** The data of the upstream and of the Durable Objects on disk. Touch it only while the server is down. */
  readonly data: { readonly upstream: DataFolder; readonly worker: DataFolder }
  readonly newStore: () => string
  /** The store's stream at the upstream, past the Worker. */
  readonly atUpstream: (storeId: string) => UpstreamStream
  readonly stop: () => Promise<void>
}

export interface DataFolder {
  readonly wipe: () => Promise<void>
  /** Copies the folder. The returned function restores the copy. */
  readonly save: () => Promise<() => Promise<void>>
}

export const startParts = async (): Promise<Parts> => {
  const folder = await mkdtemp(join(tmpdir(), 'headwater-parts-'))
  const paths = { upstream: join(folder, 'upstream'), worker: join(folder, 'worker') }
  const upstream = await startRustUpstream({ dataDir: paths.upstream })
  const between = await startCountingProxy(upstream.url)
  const worker = await startWorker({ upstreamUrl: between.url, persistTo: paths.worker })
  const networks: CountingProxy[] = []
  const newNetwork = async () => {
    const network = await startCountingProxy(worker.url)
    networks.push(network)
    return network
  }
  const run = Math.random().toString(36).slice(2, 8)
  let stores = 0
  return {
    upstream,
    between,
    worker,
    network: await newNetwork(),
    newNetwork,
    disks: join(folder, 'disks'),
    data: { upstream: dataFolder(paths.upstream), worker: dataFolder(paths.worker) },
    newStore: () => `store-${run}-${++stores}`,
    atUpstream: (storeId) => upstreamStream(`${upstream.url}/default/${storeId}`),
    stop: async () => {
      for (const network of networks) await network.stop()
      // An orderly stop would wait for open connections
      await worker.kill()
      await between.stop()
      await upstream.kill()
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

const dataFolder = (path: string): DataFolder => {
  const empty = () => rm(path, { recursive: true, force: true, maxRetries: 5 })
  let copies = 0
  return {
    wipe: empty,
    save: async () => {
      const copy = `${path}-copy-${++copies}`
      await cp(path, copy, { recursive: true })
      return async () => {
        await empty()
        await cp(copy, path, { recursive: true })
      }
    },
  }
}

/** The stores that a test has opened, so that its end can close them. */
export const makeOpened = () => {
  const open = new Set<TestStore>()
  return {
    add: (store: TestStore): TestStore => {
      open.add(store)
      return store
    },
    stop: async (store: TestStore) => {
      open.delete(store)
      await store.stop()
    },
    stopAll: async () => {
      await Promise.all([...open].map((_) => _.stop().catch(() => {})))
      open.clear()
    },
  }
}

/** Returns the milliseconds that the work took. */
export const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Prints a test's measurements in one line, because a bound means little without the real figures. */
export const report = (what: string, times: readonly number[], boundMs: number): void => {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) =>
    `${Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN)} ms`
  console.log(`${what}: ${times.length} measured, median ${at(0.5)}, longest ${at(1)}; the bound is ${boundMs} ms`)
}
