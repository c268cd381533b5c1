// (c) A new client reads a store from its start, first with an empty edge cache, and then with the whole store in it.
import type { Endpoint } from '../systems/model.ts'
import { ChainCheck, count, type Round, rate, type Scenario } from './scenario.ts'

/** A client that takes longer is measured by what it has read until then. */
const CAP_MS = 20_000
const WARM_UP = 2_000

const catchUp = (id: string, events: number, title: string): Scenario => ({
  id,
  title: () => title,
  metrics: [
    rate('cold', 'events/s, cold'),
    rate('warm', 'events/s, warm'),
    count('misses', 'cache misses cold'),
    count('hits', 'hits warm'),
  ],
  fill: () => ({ 'warm-up': WARM_UP, history: events }),
  rounds: (system, asked) =>
    events > 10_000 && !system.startsWith('headwater') && system !== 'floor' ? Math.min(asked, 2) : asked,
  async run(round) {
    for (let i = 0; i < 3; i++) await read(round, 'warm-up', WARM_UP)
    await wake(round.endpoint, 'history')
    const cold = await read(round, 'history', events)
    if (cold.cut) {
      round.problem(
        `cut after ${CAP_MS / 1_000} s, with ${cold.events.toLocaleString('en')} of ${events.toLocaleString('en')} events`,
      )
      return { cold: cold.rate, warm: cold.rate, misses: cold.misses, hits: cold.hits }
    }
    // The Worker fills the cache after its answer
    for (let i = 0; i < 5; i++) {
      const { misses } = await read(round, 'history', events)
      if (misses === 0) break
    }
    const warm = await read(round, 'history', events)
    return { cold: cold.rate, warm: warm.rate, misses: cold.misses, hits: warm.hits }
  },
})

export const catchUpShort = catchUp('c', 10_000, 'catch-up of 10,000 events')
export const catchUpLong = catchUp('c200k', 200_000, 'catch-up of 200,000 events')

/** Starts the Sequencer: only the cache should be cold, and sync-cf's object also starts before the read, as a client connects. */
async function wake({ system, workerUrl }: Endpoint, storeId: string): Promise<void> {
  if (system === 'headwater' || system === 'headwater-built-in')
    await fetch(`${workerUrl}/v1/stream/default/${storeId}`, { method: 'HEAD' })
}

async function read(round: Round, storeId: string, expected: number) {
  const caches = { HIT: 0, MISS: 0, BYPASS: 0 }
  const client = await round.open(storeId, async (input, init) => {
    const response = await fetch(input, init)
    const cache = response.headers.get('x-cache')
    if (cache !== null && cache in caches) caches[cache as keyof typeof caches] += 1
    return response
  })
  const check = new ChainCheck()
  const start = performance.now()
  const pull = client.pull((events) => check.take(events))
  let cut = false
  const timer = setTimeout(() => {
    cut = true
    void pull.stop()
  }, CAP_MS)
  const error = await pull.ended
  const took = performance.now() - start
  clearTimeout(timer)
  await client.close()
  if (error !== undefined) throw new Error(`${error} (after ${check.events} events)`)
  if (!cut && check.events !== expected) throw new Error(`${check.events} events instead of ${expected}`)
  return { rate: (check.events / took) * 1_000, events: check.events, cut, misses: caches.MISS, hits: caches.HIT }
}
