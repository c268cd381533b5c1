// (g) Many stores with one writer each, all at once.
import { chain } from '../events.ts'
import { ms, percentile, pushAccepted, rate, type Scenario, verify } from './scenario.ts'

const PUSHES = 5

export const manyStores: Scenario = {
  id: 'g',
  title: (quick) => `${quick ? 40 : '1,000'} stores with one writer each, all at once`,
  metrics: [rate('rate', 'pushes/s'), ms('p50', 'per push, p50'), ms('p99', 'p99'), rate('first', 'new stores/s')],
  // sync-cf's client by WebSocket hangs here until its process is killed
  rounds: (system, asked) => Math.min(asked, system === 'sync-cf-ws' ? 1 : 3),
  async run(round) {
    const stores = Array.from({ length: round.quick ? 40 : 1_000 }, (_, i) => `store-${i}`)
    const clients = await each(stores, (store) => round.open(store))
    const creation = performance.now()
    await Promise.all(clients.map((client) => pushAccepted(client, chain(0, 1))))
    const creationMs = performance.now() - creation

    const times: number[] = []
    const start = performance.now()
    await Promise.all(
      clients.map(async (client) => {
        for (let head = 1; head <= PUSHES; head++) times.push(await pushAccepted(client, chain(head, 1)))
      }),
    )
    const took = performance.now() - start
    await each(clients, (client) => client.close())
    await each(stores, (store) => verify(round, store, 1 + PUSHES))
    return {
      rate: (times.length / took) * 1_000,
      p50: percentile(times, 50),
      p99: percentile(times, 99),
      first: (stores.length / creationMs) * 1_000,
    }
  },
}

/** Runs `work` on twenty items at a time. */
async function each<A, B>(items: readonly A[], work: (item: A) => Promise<B>): Promise<B[]> {
  const done: B[] = []
  for (let i = 0; i < items.length; i += 20) done.push(...(await Promise.all(items.slice(i, i + 20).map(work))))
  return done
}
