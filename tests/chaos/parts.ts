// The real parts, and their deaths: workerd, the Rust server, and the proxy between them.
import { setTimeout as pause } from 'node:timers/promises'
import { type CountingProxy, type Server, startCountingProxy, startRustUpstream, startWorker } from '../harness/index.ts'
import { UPSTREAM_TIMEOUT_MS } from './faults.ts'
import type { Random } from './random.ts'
import type { Tally } from './tally.ts'

export interface Parts {
  upstream: Server
  proxy: CountingProxy
  worker: Server
}

export async function startParts(): Promise<Parts> {
  const upstream = await startRustUpstream()
  const proxy = await startCountingProxy(upstream.url)
  // Segments so short that most of what is read comes out of the edge cache
  const vars = { UPSTREAM_TIMEOUT_MS: String(UPSTREAM_TIMEOUT_MS), SEGMENT_EVENTS: '10' }
  try {
    return { upstream, proxy, worker: await startWorker({ upstreamUrl: proxy.url, vars }) }
  } catch (error) {
    await Promise.all([proxy.stop(), upstream.stop()])
    throw error
  }
}

export async function stopParts({ upstream, proxy, worker }: Parts): Promise<void> {
  await worker.stop()
  await proxy.stop()
  await upstream.stop()
}

/** kill -9 of the one, the other or both at random moments until `over`; when it resolves all of them run again. */
export async function crashNowAndThen(parts: Parts, random: Random, tally: Tally, over: AbortSignal): Promise<void> {
  for (let crashes = 0; ; crashes++) {
    await pause(random.between(1_500, 5_000), undefined, { signal: over }).catch(() => {})
    if (over.aborted) return
    const what = ['worker', 'upstream'][crashes] ?? random.pick(['worker', 'worker', 'upstream', 'upstream', 'both'])
    const downMs = random.pick([0, 200, 1_500])
    await Promise.all([
      what !== 'upstream' && crashWorker(parts, tally),
      what !== 'worker' && crashUpstream(parts, tally, downMs),
    ])
  }
}

async function crashWorker({ worker }: Parts, tally: Tally): Promise<void> {
  tally.troubles['Worker killed'] += 1
  await worker.kill()
  await worker.restart()
}

/**
 * What is in flight ends with it: the proxy forgets what it holds and cuts its connections first. A real crash does
 * that to connections; a request that a proxy kept and handed to the restarted server would be another matter. The
 * Rust server forgets the last `Stream-Seq` when it is killed, so it would take a batch whose parent was passed: the one
 * combination, an append in flight across a crash that forgets the fence, that Headwater doesn't promise to survive.
 */
async function crashUpstream({ proxy, upstream }: Parts, tally: Tally, downMs: number): Promise<void> {
  tally.troubles['upstream killed'] += 1
  proxy.setOnline(false)
  proxy.abandon()
  await upstream.kill()
  await pause(downMs)
  await upstream.restart()
  proxy.setOnline(true)
}
