// Hybrid and direct mode go to the log's own server, where somebody else may answer as well. In no mode does a passing fault
// become an `UnknownError`.
import { Effect } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, test } from 'vitest'
import {
  answers,
  type CountingProxy,
  makeStranger,
  type RequestFilter,
  type Says,
  type Stranger,
  type Visit,
} from '../harness/index.ts'
import { open as openBackend, run } from '../support/backend.ts'
import { eventsFrom } from '../support/events.ts'
import { makeBadge } from '../support/problems.ts'
import { eventually } from '../support/wait.ts'
import { type Access, accessBy, type Mode, modes, startWorld, type World } from '../support/world.ts'
import { makeOpened } from './parts.ts'
import { agree, checkLog, notesOf, openStore, type TestStore } from './support.ts'

let world: World

beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

interface Way {
  readonly access: Access
  /** The networks before the Worker and before the upstream. */
  readonly roads: readonly CountingProxy[]
  readonly comes: (
    says: (road: CountingProxy) => Says,
    which: RequestFilter & { ms?: number; times?: number },
  ) => readonly Visit[]
}

/** A client's own network to the servers of a mode. */
const newWay = async (mode: Mode): Promise<Way> => {
  const [network, bypass] = await Promise.all([world.newNetwork(), world.newNetwork(world.upstream)])
  const roads = mode === 'proxy' ? [network] : mode === 'direct' ? [bypass] : [network, bypass]
  const strangers = new Map<CountingProxy, Stranger>(roads.map((road) => [road, makeStranger(road)]))
  return {
    access: accessBy(mode, network, bypass),
    roads,
    comes: (says, which) => [...strangers].map(([road, stranger]) => stranger.comes(says(road), which)),
  }
}

/** The same server by another host name. */
const movedFrom = (road: CountingProxy): string =>
  road.url.endsWith('/v1/stream') ? world.bypass.url : world.network.url

const whole = (stores: readonly TestStore[], count: number, withinMs = 15_000) =>
  eventually(
    `everywhere the same ${count} notes, nothing pending, connected`,
    () => stores.every((_) => _.pending() === 0 && _.isConnected()) && agree(stores, count),
    () => stores.map((_) => _.status()),
    withinMs,
  )

describe.for<Mode>(['hybrid', 'direct'])('%s mode: somebody else answers', (mode) => {
  test.concurrent.for<[string, (road: CountingProxy) => Says, RequestFilter]>([
    ['everything with a captive portal’s page', () => answers.portal, {}],
    ['everything with a page, 404', () => answers.page(404), {}],
    ['everything with 301 to the right place', (road) => answers.redirect(301, movedFrom(road)), {}],
    ['everything with 307 to the right place', (road) => answers.redirect(307, movedFrom(road)), {}],
    ['reads with a page, 404', () => answers.page(404), { method: 'GET' }],
    ['reads with a page, 410', () => answers.page(410), { method: 'GET' }],
    ['reads with other JSON', () => answers.json([{ message: 'hi' }]), { method: 'GET' }],
    ['reads with [], without a header of ours', () => answers.json([]), { method: 'GET' }],
    ['pushes with 204', () => answers.noContent, { method: 'POST' }],
    ['pushes with a page, 404', () => answers.page(404), { method: 'POST' }],
  ])(
    '%s, for 2 s: no store starts over, and every event arrives once',
    { timeout: 40_000 },
    async ([, says, which], { expect, onTestFinished }) => {
      const storeId = world.newStore()
      const opened = makeOpened()
      onTestFinished(opened.stopAll)
      const [way, other] = await Promise.all([newWay(mode), newWay(mode)])
      const badge = makeBadge()
      const sync = { ...way.access, retry: { maxDelay: 500 }, live: { renewInterval: 500 }, ...badge.options }
      const [a, b] = await Promise.all([
        openStore({ name: 'a', storeId, sync }).then(opened.add),
        openStore({ name: 'b', storeId, sync: other.access }).then(opened.add),
      ])
      let end: unknown
      void a.ended.then((reason) => (end = String(reason)))
      a.note(1)
      await whole([a, b], 1)
      b.note(1)
      await whole([a, b], 2)

      const visits = way.comes(says, { ...which, ms: 2_000 })
      for (const road of way.roads) road.abandon()
      if (which.method !== 'GET') a.note(2)
      const made = which.method === 'GET' ? 1 : 3
      b.note(1)
      await eventually(
        'the stranger answers',
        () => visits.some((_) => _.answered.length > 0),
        () => a.status(),
        5_000,
      )
      await Promise.race(visits.map((_) => _.over))
      for (const visit of visits) visit.leave()

      await whole([a, b], made + 2)
      a.note(1)
      b.note(1)
      await whole([a, b], made + 4)
      expect([end, badge.shows()]).toEqual([undefined, undefined])
      const { events, notesOf: logged } = checkLog(await world.atUpstream(storeId).messages())
      expect([events, logged('a'), logged('b')]).toEqual([made + 4, notesOf('a', made + 1), notesOf('b', 3)])
    },
  )
})

// LiveStore repeats a push after either error, but only `IsOfflineError` says that the fault will pass
describe.for(modes)('%s mode: a push that somebody else, or a server in trouble, answers fails as offline', (mode) => {
  const anywhere: [string, Says][] = [
    ['500', () => ({ status: 500 })],
    ['a captive portal’s page', answers.portal],
    ['204', answers.noContent],
    ['a page, 404', answers.page(404)],
    ['nothing, in time', () => 'hold request'],
  ]
  // The log's own server does not mark its refusals
  const fromTheWorker: [string, Says][] = [
    ['a page, 403', answers.page(403)],
    ['a page, 413', answers.page(413)],
    ['another service’s problem, 403', answers.problem(403)],
  ]
  test.concurrent.for([...anywhere, ...(mode === 'direct' ? [] : fromTheWorker)])(
    '%s',
    async ([, says], { expect }) => {
      const way = await newWay(mode)
      const failure = await run(
        Effect.gen(function* () {
          // By HTTP: the second push must not find a socket open.
          const options = { ...way.access, live: { mode: 'sse' as const }, push: { requestTimeout: 300 } }
          const backend = yield* openBackend(options, world.newStore())
          yield* backend.push(eventsFrom(0, 1))
          way.comes(() => says, {})
          return yield* Effect.flip(backend.push(eventsFrom(1, 1)))
        }),
      )
      expect((failure as { _tag: string })._tag).toBe('IsOfflineError')
      for (const road of way.roads) road.abandon()
    },
  )
})
