// The real parts with a proxy on either side of the Worker, and their data in folders that a test can wipe and restore.
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type CountingProxy,
  makeFolder,
  removeFolder,
  startCountingProxy,
  startRustUpstream,
} from '../harness/index.ts'
import { startWorld, type World } from '../support/world.ts'
import type { TestStore } from './support.ts'

export interface Parts extends World {
  /** Between the Worker and the upstream. */
  readonly between: CountingProxy
  /** The folder of the devices' disks. */
  readonly disks: string
  /** The data of the upstream and of the Durable Objects on disk. Touch it only while the server is down. */
  readonly data: { readonly upstream: DataFolder; readonly worker: DataFolder }
}

export interface DataFolder {
  readonly wipe: () => Promise<void>
  /** Copies the folder. The returned function restores the copy. */
  readonly save: () => Promise<() => Promise<void>>
}

export const startParts = async (): Promise<Parts> => {
  const folder = await makeFolder('parts')
  const paths = { upstream: join(folder, 'upstream'), worker: join(folder, 'worker') }
  const upstream = await startRustUpstream({ dataDir: paths.upstream })
  const between = await startCountingProxy(upstream.url)
  const world = await startWorld({ upstream, upstreamUrl: between.url, persistTo: paths.worker })
  return {
    ...world,
    between,
    disks: join(folder, 'disks'),
    data: { upstream: dataFolder(paths.upstream), worker: dataFolder(paths.worker) },
    stop: async () => {
      // An orderly stop would wait for open connections
      await world.worker.kill()
      await between.stop()
      await upstream.kill()
      await world.stop()
      await removeFolder(folder)
    },
  }
}

const dataFolder = (path: string): DataFolder => {
  const empty = () => removeFolder(path)
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
