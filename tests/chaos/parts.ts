// The real parts and their crashes: workerd, the Rust server, and the proxies before both.
import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  type CountingProxy,
  makeFolder,
  noUpstream,
  removeFolder,
  type Server,
  startCountingProxy,
  startNodeUpstream,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'
import type { Random } from '../support/random.ts'
import { UPSTREAM_TIMEOUT_MS } from './faults.ts'
import { startReplicas } from './replicas.ts'
import type { Tally } from './tally.ts'

export interface Parts {
  /** {@link noUpstream} if the log is built in: then nobody uses the ways there. */
  upstream: Server
  /** The folder of the upstream's data. */
  dataDir: string
  /** Between the Worker and the upstream. */
  proxy: CountingProxy
  worker: Server
  replicas: boolean
  /** The most characters of padding in an event, but for a few long ones. */
  mostPadding: number
  /** Between the clients and the Worker. */
  front: CountingProxy
  /** The upstream and the Worker by another name, the target of redirects. */
  aside: { upstream: CountingProxy; worker: CountingProxy }
}

export interface PartsOptions {
  /** Whether the log is built in. */
  builtIn?: boolean
  /** Whether the older parts of a built-in log move to an R2 bucket. The events are longer then, so that there are such parts. */
  bucket?: boolean
  /** Whether two Workers serve every store, each with a Sequencer of its own. */
  replicas?: boolean
}

// With segments this short, most reads come from the edge cache
const VARS = { UPSTREAM_TIMEOUT_MS: String(UPSTREAM_TIMEOUT_MS), SEGMENT_EVENTS: '10' }

const PADDING = 200

export async function startParts(options: PartsOptions = {}): Promise<Parts> {
  const { builtIn = false, bucket = false, replicas = false } = options
  const dataDir = join(await makeFolder('chaos'), 'upstream')
  if (builtIn) return partsWithoutUpstream(dataDir, bucket)
  // The Rust server forgets its fence when it is killed, and a Sequencer that has not heard of another one's appends relies on it
  const upstream = await (replicas ? startNodeUpstream : startRustUpstream)({ dataDir })
  const proxy = await startCountingProxy(upstream.url)
  try {
    const options = { upstreamUrl: proxy.url, vars: VARS }
    const worker = await (replicas ? startReplicas(options) : startWorker(options))
    const aside = { upstream: await startCountingProxy(upstream.url), worker: await startCountingProxy(worker.url) }
    const front = await startCountingProxy(worker.url)
    return { upstream, dataDir, proxy, worker, replicas, mostPadding: PADDING, front, aside }
  } catch (error) {
    await Promise.all([proxy.stop(), upstream.stop()])
    throw error
  }
}

async function partsWithoutUpstream(dataDir: string, bucket: boolean): Promise<Parts> {
  const worker = await startWorker({ upstreamUrl: '', persistTo: dataDir, bucket, vars: VARS })
  const way = () => startCountingProxy(worker.url)
  const aside = { upstream: await way(), worker: await way() }
  const [proxy, front] = [await way(), await way()]
  const mostPadding = bucket ? 40 * PADDING : PADDING
  return { upstream: noUpstream, dataDir, proxy, worker, replicas: false, mostPadding, front, aside }
}

/** How many objects the bucket has. */
export async function objectsInBucket({ dataDir }: Parts): Promise<number> {
  const names = await readdir(dataDir, { recursive: true })
  return names.filter((name) => /^r2\/.*\bblobs\/[0-9a-f]+$/.test(name)).length
}

export async function stopParts({ upstream, dataDir, proxy, worker, front, aside }: Parts): Promise<void> {
  await Promise.all([front.stop(), aside.worker.stop()])
  await worker.stop()
  await Promise.all([proxy.stop(), aside.upstream.stop()])
  await upstream.stop()
  await removeFolder(join(dataDir, '..'))
}

/**
 * Kills the Worker, the upstream or both with SIGKILL at random moments until `over`. Now and then the upstream comes back without
 * its data for a while. At the end all parts run again, with all their data. `mayEmpty`: whether the Sequencers know every store.
 * A Sequencer that does not know its store begins on any log that it finds.
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
      parts.upstream === noUpstream
        ? 'worker'
        : (['worker', 'upstream', 'emptied'][crashes] ??
          random.pick(['worker', 'worker', 'upstream', 'upstream', 'both', 'emptied']))
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
 * Requests in flight end with the upstream: the proxies first forget their held requests and cut their connections, as a real
 * crash cuts connections. A proxy must not hand a kept request to the restarted server. The killed Rust server forgets the last
 * `Stream-Seq`, and would accept a batch on a parent that is no longer the head. An append in flight across a crash that forgets
 * the fence is the one combination that Headwater does not promise to survive.
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

/** As with a volume that is not mounted, the upstream runs on an empty folder, and then on its own again. */
async function emptyUpstream(parts: Parts, random: Random, tally: Tally): Promise<void> {
  const { dataDir } = parts
  const kept = `${dataDir}-kept`
  tally.troubles['upstream emptied'] += 1
  await crashUpstream(parts, tally, () => rename(dataDir, kept))
  await pause(random.pick([300, 1_500, 3_000]))
  // A Sequencer that starts now knows only its row
  if (random.chance(0.5)) await crashWorker(parts, tally)
  await crashUpstream(parts, tally, async () => {
    await removeFolder(dataDir)
    await rename(kept, dataDir)
  })
}
