// Real stores behind a Worker whose upstream has lost its data, or in whose place somebody else answers. No store starts over
// unless an administrator says so.
import { join } from 'node:path'
import { afterAll, beforeAll, describe, type TestContext, test } from 'vitest'
import {
  answers,
  type CountingProxy,
  makeStranger,
  type RequestFilter,
  type Says,
  type Stranger,
  whileDown,
} from '../harness/index.ts'
import { eventsFrom } from '../support/events.ts'
import { eventually } from '../support/wait.ts'
import { type Parts, startParts } from './parts.ts'
import { makeScene, shown, whole } from './scene.ts'
import { notesOf } from './support.ts'

let parts: Parts
/** The network between the Worker and the upstream. */
let stranger: Stranger
/** The upstream's other host name. */
let moved: CountingProxy

beforeAll(async () => {
  parts = await startParts()
  stranger = makeStranger(parts.between)
  moved = await parts.newNetwork(parts.upstream)
})
afterAll(() => parts?.stop())

/** An idle live read is renewed within this time. The default is a minute, for which the tests have no time. */
const RENEW_MS = 500

const begin = async ({ onTestFinished }: TestContext) => {
  const scene = makeScene(parts)
  onTestFinished(scene.close)
  const directory = join(parts.disks, scene.storeId)
  const open = async (name: string) => {
    const device = await scene.open(name, { directory, sync: { live: { renewInterval: RENEW_MS } } })
    let end: string | undefined
    void device.ended.then((reason) => (end = String(reason)))
    return { ...device, end: () => end }
  }
  const atWorker = parts.atWorker(scene.storeId)
  const backendId = async () => (await atWorker.request('HEAD')).headers.get('livestore-backend-id')
  const [a, b] = await Promise.all([open('a'), open('b')])
  a.note(3)
  await whole([a, b], 3)
  b.note(2)
  await whole([a, b], 5)
  return { ...scene, open, atWorker, backendId, a, b, before: await backendId() }
}

type Stores = Awaited<ReturnType<typeof begin>>

/** Waits until each has met the halted store: `a` by its live read or its push, `b` by its live read. */
const halted = ({ a, b }: Stores) => Promise.all([shown(a, 'halted', 8_000), shown(b, 'halted', 8_000)])

const pushByHand = async ({ atWorker }: Stores) => {
  const response = await atWorker.push(eventsFrom(5, 1, { id: 'x-1', writer: 'x', slot: 1 }, 'x'))
  return [response.status, response.headers.has('retry-after'), ((await response.json()) as { _tag: string })._tag]
}

const statusUpstream = async ({ storeId }: Stores) =>
  (await fetch(`${parts.upstream.url}/default/${storeId}?offset=-1`)).status

const goesOn = async ({ expect }: TestContext, { a, b, log, backendId, before }: Stores, pending: number) => {
  await whole([a, b], 5 + pending, 30_000)
  b.note(1)
  await whole([a, b], 6 + pending)
  expect(await backendId()).toBe(before)
  const { events, notesOf: logged } = await log()
  expect([events, logged('a'), logged('b')]).toEqual([6 + pending, notesOf('a', 3 + pending), notesOf('b', 3)])
}

describe('an upstream that comes back on an empty folder', () => {
  test('resets no store, accepts no push and gets no new log; with its data back, all goes on', async (context) => {
    const { expect } = context
    const stores = await begin(context)
    const { a, b } = stores
    const restore = await whileDown(parts.upstream, async () => {
      const restore = await parts.data.upstream.save()
      await parts.data.upstream.wipe()
      return restore
    })
    a.note(2)
    await halted(stores)
    expect(await pushByHand(stores)).toEqual([503, true, 'StoreHaltedError'])
    // A Sequencer that starts now knows only its row
    await parts.worker.restart()
    expect(await pushByHand(stores)).toEqual([503, true, 'StoreHaltedError'])
    expect([a.end(), b.end(), a.count(), b.count(), a.pending(), await statusUpstream(stores)]).toEqual([
      undefined,
      undefined,
      7,
      5,
      2,
      404,
    ])

    await whileDown(parts.upstream, restore)
    await goesOn(context, stores, 2)
    expect([a.end(), b.end()]).toEqual([undefined, undefined])
  }, 60_000)
})

test('a stream that is gone upstream resets no store until an administrator does', async (context) => {
  const { expect } = context
  const stores = await begin(context)
  const { a, b, open, atWorker, backendId, before, storeId, log } = stores
  await parts.atUpstream(storeId).remove()
  a.note(2)
  await halted(stores)
  expect(await pushByHand(stores)).toEqual([503, true, 'StoreHaltedError'])
  expect([a.end(), b.end(), a.count(), b.count(), a.pending(), await statusUpstream(stores)]).toEqual([
    undefined,
    undefined,
    7,
    5,
    2,
    404,
  ])

  expect((await atWorker.request('DELETE')).status).toBe(204)
  expect(await backendId()).not.toBe(before)
  await eventually(
    'both are told to start over',
    () => [a, b].every((_) => _.end()?.includes('backend-id-mismatch')),
    () => [a.end(), b.end()],
    15_000,
  )
  await Promise.all([a, b].map((_) => _.stop().catch(() => {})))
  const again = await Promise.all([open('a'), open('b')])
  expect(again.map((_) => _.count())).toEqual([0, 0])
  again[0].note(1)
  await whole(again, 1)
  again[1].note(1)
  await whole(again, 2)
  expect((await log()).events).toBe(2)
}, 60_000)

test('a DELETE that something on the way answers fails with 503, and all goes on as before', async (context) => {
  const { expect } = context
  const stores = await begin(context)
  const { a, b, atWorker, storeId, backendId, before } = stores
  const visit = stranger.comes(answers.page(404), { method: 'DELETE', path: storeId })
  const refused = await atWorker.request('DELETE')
  visit.leave()
  expect([refused.status, refused.headers.has('retry-after'), visit.answered.length > 0]).toEqual([503, true, true])
  await goesOn(context, stores, 0)
  expect([a.end(), b.end()]).toEqual([undefined, undefined])

  expect((await atWorker.request('DELETE')).status).toBe(204)
  expect(await backendId()).not.toBe(before)
}, 30_000)

/** The most requests of the Worker and the Sequencer to the upstream for one store, in the 2 s of a stranger. */
const MOST_REQUESTS = 150

describe.concurrent('somebody else answers the Worker for 2 s', () => {
  const page = (status: number): [string, Says] => [`a page, ${status}`, answers.page(status)]
  const all: [string, Says][] = [
    page(403),
    page(404),
    page(410),
    ['a captive portal’s page', answers.portal],
    ['a login page behind a redirect', answers.login],
    ['a redirect to the right place', (request) => answers.redirect(301, moved.url)(request)],
    ['204', answers.noContent],
  ]
  test.for(all)('everything with %s: no store resets, and all events arrive', ([, says], context) =>
    visited(context, says),
  )
  test.for([page(404), page(410)])('only reads with %s', ([, says], context) =>
    visited(context, says, { method: 'GET' }),
  )
  test.for([
    page(404),
    ['204', answers.noContent] as [string, Says],
    ['a captive portal’s page', answers.portal] as [string, Says],
  ])('appends alone with %s', ([, says], context) => visited(context, says, { method: 'POST' }))

  const visited = async (context: TestContext, says: Says, which: RequestFilter = {}) => {
    const { expect } = context
    const stores = await begin(context)
    const { a, b, storeId } = stores
    const asked = () => parts.between.count({ path: storeId })
    const visit = stranger.comes(says, { ...which, path: storeId, ms: 2_000 })
    const before = asked()
    a.note(2)
    await eventually(
      'the stranger answers',
      () => visit.answered.length > 0,
      () => a.status(),
    )
    await visit.over
    expect(asked() - before).toBeLessThan(MOST_REQUESTS)
    await goesOn(context, stores, 2)
    expect([a.end(), b.end()]).toEqual([undefined, undefined])
  }
}, 60_000)
