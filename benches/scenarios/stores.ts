// (stores) Whole LiveStore stores that commit events while they are offline, and then reconnect at the same moment.
import { makeSyncBackend as headwater } from '../../client/src/index.ts'
import { agree, openStore, type TestStore } from '../../tests/livestore/support.ts'
import { type Gate, startGate } from '../gate.ts'
import { count, type Round, type Scenario, seconds, until, verify } from './scenario.ts'

const STORE = 'reconnected'
const sizes = (quick: boolean) => (quick ? { stores: 4, events: 10 } : { stores: 20, events: 50 })
const OFFLINE_WITHIN_MS = 8_000
const DONE_WITHIN_MS = 120_000

export const stores: Scenario = {
  id: 'stores',
  title: (quick) => {
    const { stores, events } = sizes(quick)
    return `${stores} LiveStore stores reconnect, with ${events} events each`
  },
  metrics: [
    seconds('total', 'until all are equal'),
    seconds('pushed', 'until all have pushed'),
    count('spread', 'last done / first done'),
    count('refused', 'refused by the server'),
  ],
  exclusion: (system) =>
    system === 'headwater' || system === 'sync-cf-ws' ? undefined : 'not one of the two that are compared here',
  rounds: (_, asked) => Math.min(asked, 3),
  async run(round) {
    const { stores: size, events } = sizes(round.quick)
    const gates: Gate[] = []
    const stores: TestStore[] = []
    const ended: string[] = []
    try {
      for (let i = 0; i < size; i++) {
        const gate = await startGate(round.endpoint.workerUrl)
        gates.push(gate)
        const backend = await backendOf(round, gate.url)
        const store = await openStore({ name: `store-${i}`, storeId: STORE, sync: { url: gate.url }, backend })
        void store.ended.then((why) => ended.push(String(why)))
        stores.push(store)
      }
      if (!(await until(() => stores.every((store) => store.isConnected()), OFFLINE_WITHIN_MS)))
        throw new Error('not every store connected')

      for (const gate of gates) gate.close()
      for (const store of stores) store.note(events)
      // Once each store tries again, all of them reconnect in the same moment
      const isReady = () =>
        gates.every((gate) => gate.waiting() > 0) && stores.every((store) => store.pending() === events)
      if (!(await until(isReady, OFFLINE_WITHIN_MS))) {
        const waiting = gates.filter((gate) => gate.waiting() > 0).length
        round.problem(`only ${waiting} stores tried to reconnect within ${OFFLINE_WITHIN_MS / 1_000} s`)
      }
      const start = performance.now()
      for (const gate of gates) gate.open()
      const pushedAt = stores.map(() => 0)
      const observe = () => {
        stores.forEach((store, i) => {
          if (pushedAt[i] === 0 && store.pending() === 0) pushedAt[i] = performance.now() - start
        })
        return stores.every((store, i) => pushedAt[i] !== 0 && store.count() === size * events)
      }
      const isDone = await until(() => ended.length > 0 || observe(), DONE_WITHIN_MS)
      const total = performance.now() - start
      const refused = gates.reduce((sum, gate) => sum + gate.refusals(), 0)
      if (ended[0] !== undefined) {
        const why = ended[0].replace(/\s+/g, ' ').slice(0, 200)
        round.problem(`LiveStore ended ${ended.length} of ${size} stores, the first with: ${why}`)
        return { refused }
      }
      if (!isDone) {
        const counts = stores.map((store) => store.count())
        round.problem(
          `not done after ${DONE_WITHIN_MS / 1_000} s: the stores have ${Math.min(...counts)} to ${Math.max(...counts)} of ${size * events} events`,
        )
        return { refused }
      }
      if (!agree(stores, size * events)) throw new Error('the stores are not equal')
      await verify(round, STORE, size * events)
      const pushed = Math.max(...pushedAt)
      return { total: total / 1_000, pushed: pushed / 1_000, spread: pushed / Math.min(...pushedAt), refused }
    } finally {
      for (const gate of gates) gate.stop()
      await Promise.race([
        Promise.all(stores.map((store) => store.stop().catch(() => {}))),
        new Promise((resolve) => setTimeout(resolve, 5_000)),
      ])
    }
  },
}

async function backendOf({ endpoint }: Round, url: string) {
  if (endpoint.system === 'headwater') return headwater({ url })
  return (await import('@livestore/sync-cf/client')).makeWsSync({ url: url.replace('http', 'ws') })
}
