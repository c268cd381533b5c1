// The real parts, and their deaths: workerd, the Rust server, and the proxies before both.
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  type CountingProxy,
  makeFolder,
  removeFolder,
  type Server,
  startCountingProxy,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'
import type { Random } from '../support/random.ts'
import { UPSTREAM_TIMEOUT_MS } from './faults.ts'
import type { Tally } from './tally.ts'

export interface Parts {
  upstream: Server
  /** Where the upstream has its data, in a folder of its own. */
  dataDir: string
  /** Between the Worker and the upstream. */
  proxy: CountingProxy
  worker: Server
  /** Between the clients and the Worker. */
  front: CountingProxy
  /** The upstream and the Worker by another name, where redirects lead. */
  aside: { upstream: CountingProxy; worker: CountingProxy }
}

export async function startParts(): Promise<Parts> {
  const dataDir = join(await makeFolder('chaos'), 'upstream')
  const upstream = await startRustUpstream({ dataDir })
  const proxy = await startCountingProxy(upstream.url)
  // Segments so short that most of what is read comes out of the edge cache
  const vars = { UPSTREAM_TIMEOUT_MS: String(UPSTREAM_TIMEOUT_MS), SEGMENT_EVENTS: '10' }
  try {
    const worker = await startWorker({ upstreamUrl: proxy.url, vars })
    const aside = { upstream: await startCountingProxy(upstream.url), worker: await startCountingProxy(worker.url) }
    return { upstream, dataDir, proxy, worker, front: await startCountingProxy(worker.url), aside }
  } catch (error) {
    await Promise.all([proxy.stop(), upstream.stop()])
    throw error
  }
}

export async function stopParts({ upstream, dataDir, proxy, worker, front, aside }: Parts): Promise<void> {
  await Promise.all([front.stop(), aside.worker.stop()])
  await worker.stop()
  await Promise.all([proxy.stop(), aside.upstream.stop()])
  await upstream.stop()
  await removeFolder(join(dataDir, '..'))
}

/**
 * kill -9 of the one, the other or both at random moments until `over`, and now and then the upstream comes back without its
 * data for a while. When it resolves all of them run again, with all their data. `mayEmpty`: whether the Sequencers know of
 * every store. One that knows nothing of its store begins on whatever log there is.
 */
export async function crashNowAndThen(
  parts: Parts,
  random: Random,
  tally: Tally,
  mayEmpty: () => boolean,
  over: AbortSignal,
): Promise<void> {
  for (let crashes = 0; ; crashes++) {
    await pause(random.between(1_500, 5_000), undefined, { signal: over }).catch(() => {})
    if (over.aborted) return
    const what =
      ['worker', 'upstream', 'emptied'][crashes] ??
      random.pick(['worker', 'worker', 'upstream', 'upstream', 'both', 'emptied'])
    const downMs = random.pick([0, 200, 1_500])
    if (what === 'emptied' && mayEmpty()) {
      await emptyUpstream(parts, random, tally)
      continue
    }
    await Promise.all([
      what !== 'upstream' && crashWorker(parts, tally),
      what !== 'worker' && crashUpstream(parts, tally, () => pause(downMs)),
    ])
  }
}

async function crashWorker({ worker }: Parts, tally: Tally): Promise<void> {
  tally.troubles['Worker killed'] += 1
  await worker.kill()
  await worker.restart()
}

/**
 * What is in flight ends with it: the proxies forget what they hold and cut their connections first. A real crash does
 * that to connections; a request that a proxy kept and handed to the restarted server would be another matter. The
 * Rust server forgets the last `Stream-Seq` when it is killed, so it would take a batch whose parent was passed: the one
 * combination, an append in flight across a crash that forgets the fence, that Headwater doesn't promise to survive.
 */
async function crashUpstream(
  { proxy, aside, upstream }: Parts,
  tally: Tally,
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  tally.troubles['upstream killed'] += 1
  const roads = [proxy, aside.upstream]
  for (const road of roads) {
    road.setOnline(false)
    road.abandon()
  }
  await upstream.kill()
  await meanwhile()
  await upstream.restart()
  for (const road of roads) road.setOnline(true)
}

/** As with a volume that is not mounted: it runs on an empty folder, and then on its own again. */
async function emptyUpstream(parts: Parts, random: Random, tally: Tally): Promise<void> {
  const { dataDir } = parts
  const kept = `${dataDir}-kept`
  tally.troubles['upstream emptied'] += 1
  await crashUpstream(parts, tally, () => rename(dataDir, kept))
  await pause(random.pick([300, 1_500, 3_000]))
  // A Sequencer that starts now has only its row to go by
  if (random.chance(0.5)) await crashWorker(parts, tally)
  await crashUpstream(parts, tally, async () => {
    await removeFolder(dataDir)
    await rename(kept, dataDir)
  })
}
