// Real stores in all three modes converge, and an app sees the progress of its first sync.
import { makeWorkerAdapter } from '@livestore/adapter-node'
import type { BootStatus } from '@livestore/common'
import { createStorePromise } from '@livestore/livestore'
import { LogLevel } from '@livestore/utils/effect'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/wait.ts'
import { type Mode, startWorld, type World } from '../support/world.ts'
import type { LeaderArgs } from './leader-worker.ts'
import { makeOpened } from './parts.ts'
import { checkLog, converged, fill, notesOf, openStore, schema, tables } from './support.ts'

const opened = makeOpened()
let world: World
let storeId: string

beforeAll(async () => {
  world = await startWorld({ vars: { SEGMENT_EVENTS: '200' } })
})
afterAll(() => world?.stop())
beforeEach(() => {
  storeId = world.newStore()
})
afterEach(() => opened.stopAll())

/** A renewal finds the first append of a direct writer. From then on, the Sequencer watches the log. */
const FINDS_DIRECT_WRITERS = { renewInterval: 1_000 }

const start = async (mode: Mode, name: string) =>
  opened.add(await openStore({ name, storeId, sync: { ...world.access(mode), live: FINDS_DIRECT_WRITERS } }))
const log = async () => checkLog(await world.atUpstream(storeId).messages())
const everywhere = (online: boolean) => [world.network, world.bypass].forEach((_) => _.setOnline(online))

describe.each<[string, Mode[]]>([
  ['hybrid', ['hybrid', 'hybrid']],
  ['direct', ['direct', 'direct', 'direct']],
  ['of different modes', ['proxy', 'hybrid', 'direct']],
])('stores converge: %s', (_, each) => {
  const startAll = () => Promise.all(each.map((mode, i) => start(mode, `${mode}${i}`)))

  test('live, in every direction', async () => {
    const stores = await startAll()
    for (let round = 0; round < 3; round++) {
      for (const [i, store] of stores.entries()) {
        store.note(1)
        await converged(stores, round * stores.length + i + 1)
      }
    }
    expect((await log()).events).toBe(3 * stores.length)
  }, 60_000)

  test('after all have committed offline and reconnect at the same moment', async () => {
    const stores = await startAll()
    for (const store of stores) store.note(2)
    await converged(stores, 2 * stores.length)
    everywhere(false)
    await eventually(
      'all cut off',
      () => stores.every((_) => !_.isConnected()),
      () => stores.map((_) => _.status()),
    )
    for (const store of stores) store.note(20)
    everywhere(true)
    await converged(stores, 22 * stores.length, 40_000)
    const { events, notesOf: logged } = await log()
    expect(events).toBe(22 * stores.length)
    for (const { name } of stores) expect(logged(name)).toEqual(notesOf(name, 22))
  }, 90_000)
})

describe('an app shows the progress of its first sync', () => {
  const EVENTS = 450
  const ITEM = 100

  test.each<Mode>(['proxy', 'direct'])(
    '%s',
    async (mode) => {
      expect(new Set(await fill(world.atWorker(storeId), EVENTS))).toEqual(new Set([200]))
      const seen: BootStatus[] = []
      const sync = { ...world.access(mode), pull: { maxItemEvents: ITEM } }
      const store = await createStorePromise({
        schema,
        storeId: `${storeId}-on-reader`,
        disableDevtools: true,
        logLevel: LogLevel.None,
        onBootStatus: (status) => seen.push(status),
        adapter: makeWorkerAdapter({
          storage: { type: 'in-memory' },
          clientId: 'reader',
          workerUrl: new URL('./leader-worker.ts', import.meta.url),
          workerExtraArgs: JSON.parse(JSON.stringify({ storeId, sync } satisfies LeaderArgs)),
        }),
      })
      // The app waits until the store is in sync
      expect(store.query(tables.notes.count())).toBe(EVENTS)
      await store.shutdownPromise()
      const progress = seen.flatMap((_) => (_.stage === 'syncing' ? [_.progress] : []))
      const total = mode === 'proxy' ? EVENTS : -1
      // The total is unknown before the first item. Then the Worker tells it; the log itself does not
      expect(progress[0]).toEqual({ done: 0, total: -1 })
      expect(new Set(progress.slice(1).map((_) => _.total))).toEqual(new Set([total]))
      const done = progress.map((_) => _.done)
      expect(done).toEqual(done.toSorted((a, b) => a - b))
      expect(done.at(-1)).toBe(EVENTS)
      expect(done.length).toBeGreaterThan(EVENTS / ITEM)
      expect(seen.at(-1)).toEqual({ stage: 'done' })
    },
    60_000,
  )
})
