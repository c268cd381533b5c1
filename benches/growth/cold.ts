// Measures the first push after the runtime has evicted a Sequencer. The isolate and the sockets stay, but the object's memory is
// gone.
import { setTimeout as sleep } from 'node:timers/promises'
import { chain } from '../events.ts'
import { percentile, pushAccepted } from '../scenarios/scenario.ts'
import { type Figure, followed, withHeadwater } from './measure.ts'

/** workerd evicts an object that has been idle for 10 s. */
const EVICTED_AFTER_MS = 15_000

export async function cold(quick: boolean): Promise<Figure[]> {
  return withHeadwater(async ({ endpoint }) => {
    const stores = await Promise.all(Array.from({ length: quick ? 10 : 50 }, (_, i) => followed(endpoint, `cold-${i}`)))
    const warm: number[] = []
    for (let head = 0; head < 10; head++)
      for (const store of stores) warm.push(await pushAccepted(store, chain(head, 1)))
    await sleep(EVICTED_AFTER_MS)
    const first: number[] = []
    for (const store of stores) first.push(await pushAccepted(store, chain(10, 1)))
    for (const store of stores) await store.close()
    const [coldMs, warmMs] = [percentile(first, 50), percentile(warm.slice(warm.length / 2), 50)]
    return [
      { what: 'first push on an evicted Sequencer, p50', value: coldMs, unit: 'ms' },
      { what: 'push on an awake Sequencer, p50', value: warmMs, unit: 'ms' },
      { what: 'evicted / awake', value: coldMs / warmMs, unit: '×', target: 4 },
    ]
  })
}
