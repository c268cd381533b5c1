// A user's view of a backend that was reset, wiped or restored to an older state, or whose Durable Object lost its storage.

import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { CommonOptions } from '../../client/src/index.ts'
import { problemType } from '../../client/src/protocol/index.js'
import { whileDown } from '../harness/index.ts'
import { makeNetwork, silent } from '../support/network.ts'
import { eventually } from '../support/wait.ts'
import { makeOpened, type Parts, report, startParts, timed } from './parts.ts'
import { checkLog, converged, notesFrom, notesOf, openStore, type TestStore } from './support.ts'

/**
 * A live read that hears nothing of a reset notices it when it is renewed, within this time. The default is 60 s, for which
 * the tests have no time.
 */
const RENEW_MS = 2_000
/** The renewal, and a few requests on a busy machine. */
const NOTICE_MS = RENEW_MS + 3_000
/** LiveStore repeats a failed push with its own backoff, which ends at 30 s. */
const REPEAT_MS = 30_000

let parts: Parts
let storeId: string
const opened = makeOpened()

beforeAll(async () => {
  parts = await startParts()
})
afterAll(() => parts?.stop())
beforeEach(() => {
  storeId = parts.newStore()
})
afterEach(() => opened.stopAll())

type Policy = 'reset' | 'shutdown' | 'ignore'

/** A device with a disk. A device of the same name boots from the same data. */
const boot = async (name: string, options: { policy?: Policy; sync?: CommonOptions } = {}) =>
  opened.add(
    await openStore({
      name,
      storeId,
      directory: join(parts.disks, storeId),
      sync: { url: parts.network.url, live: { renewInterval: RENEW_MS }, ...options.sync },
      onBackendIdMismatch: options.policy ?? 'reset',
    }),
  )

const store = () => parts.atWorker(storeId)
const log = async () => checkLog(await parts.atUpstream(storeId).messages())
const backendId = async () => (await store().request('HEAD')).headers.get('livestore-backend-id')
const refusals = (status: number) =>
  parts.network.requests.filter((_) => _.method === 'POST' && _.path.includes(storeId) && _.status === status)

/** The time until LiveStore ended the store, and LiveStore's reason. */
const endOf = async (store: TestStore, since: number) => {
  let reason: string | undefined
  void store.ended.then((_) => (reason = String(_)))
  await eventually(
    `the end of ${store.name}`,
    () => reason !== undefined,
    () => store.status(),
    NOTICE_MS,
  )
  await opened.stop(store).catch(() => {})
  return { reason, ms: performance.now() - since }
}

const synced = (stores: readonly TestStore[]) =>
  eventually(
    'all synced',
    () => stores.every((_) => _.pending() === 0),
    () => stores.map((_) => _.status()),
  )

const reset = async () => expect((await store().request('DELETE')).status).toBe(204)

/** Only an administrator resets a store; a missing log does not (server-side.test.ts). */
const ways: [string, () => Promise<unknown>][] = [
  ['is reset with DELETE', reset],
  ['loses its stream at the upstream, and is reset', () => parts.atUpstream(storeId).remove().then(reset)],
  [
    'comes back with an upstream that has lost its data, and is reset',
    () => whileDown(parts.upstream, () => parts.data.upstream.wipe()).then(reset),
  ],
]

describe.each(ways)('the backend %s:', (way, wipe) => {
  test('each store notices, and follows onBackendIdMismatch', async () => {
    const [a, b] = [await boot('a'), await boot('b')]
    const [stopping, ignoring] = [await boot('s', { policy: 'shutdown' }), await boot('i', { policy: 'ignore' })]
    a.note(3)
    await converged([a, b, stopping, ignoring], 3)
    await synced([a])
    const before = await backendId()

    await wipe()
    const since = performance.now()
    const [endOfA, endOfB, endOfStopping] = await Promise.all([a, b, stopping].map((_) => endOf(_, since)))
    report(
      `the backend ${way}: noticed by a live pull`,
      [endOfA, endOfB, endOfStopping].map((_) => _?.ms ?? Number.NaN),
      NOTICE_MS,
    )

    // 'reset', LiveStore's default: the app ends, and its next boot starts without data
    expect([endOfA?.reason, endOfB?.reason]).toEqual([
      expect.stringContaining('backend-id-mismatch'),
      expect.stringContaining('backend-id-mismatch'),
    ])
    expect(await backendId()).not.toBe(before)
    const [a2, b2] = [await boot('a'), await boot('b')]
    expect([a2.count(), b2.count()]).toEqual([0, 0])
    a2.note(2)
    await converged([a2, b2], 2)
    b2.note(2)
    await converged([a2, b2], 4)

    // 'shutdown': the store ends and keeps its data; so does every boot with this setting
    expect(endOfStopping?.reason).toContain('BackendIdMismatchError')
    const stopping2 = await boot('s', { policy: 'shutdown' })
    expect(stopping2.count()).toBe(3)
    expect((await endOf(stopping2, performance.now())).reason).toContain('BackendIdMismatchError')

    // 'ignore': the store goes on alone, with its old data. Its commits stay on the device
    parts.network.clear()
    ignoring.note(1)
    await eventually(
      'a refused push',
      () => refusals(409).length > 0,
      () => parts.network.requests.length,
    )
    expect([ignoring.count(), ignoring.pending()]).toEqual([4, 1])
    a2.note(1)
    await converged([a2, b2], 5)
    expect([ignoring.count(), ignoring.pending()]).toEqual([4, 1])
    await opened.stop(ignoring)
    // With 'reset' it starts over at its next boot, and its own unsent events are gone
    const ignoring2 = await boot('i')
    expect((await endOf(ignoring2, performance.now())).reason).toContain('backend-id-mismatch')
    await converged([a2, b2, await boot('i')], 5)

    const { events, notesOf: logged } = await log()
    expect([events, logged('a'), logged('i')]).toEqual([5, notesOf('a', 3), []])
  }, 60_000)
})

// Events that it commits meanwhile belong to the old incarnation of the store: 'reset' clears them too.
test('a push notices a reset at once, though its live read is dead and renewed only every 60 s', async () => {
  const network = makeNetwork()
  network.intercept((ask) => (ask.live === null ? undefined : silent(ask)))
  const a = await boot('a', { sync: { fetch: network.fetch, live: {} } })
  a.note(3)
  await eventually(
    'pushed',
    () => refusals(200).length > 0,
    () => a.status(),
  )
  await store().request('DELETE')
  const since = performance.now()
  a.note(1)
  const { reason, ms } = await endOf(a, since)
  expect(reason).toContain('backend-id-mismatch')
  expect(refusals(409)).toHaveLength(1)
  report('a push noticed a reset', [ms], NOTICE_MS)
  const again = await boot('a')
  expect(again.count()).toBe(0)
  again.note(2)
  await expect.poll(async () => (await log()).notesOf('a'), { timeout: NOTICE_MS }).toEqual(notesOf('a', 2))
})

test('an upstream restored to an older state: pushes are refused and stay pending until the newer state is back', async () => {
  // The test counts a's pushes by HTTP
  const a = await boot('a', { sync: { live: { mode: 'sse', renewInterval: RENEW_MS } } })
  const b = await boot('b')
  a.note(5)
  await converged([a, b], 5)
  const restoreOld = await whileDown(parts.upstream, () => parts.data.upstream.save())
  b.note(3)
  await converged([a, b], 8)
  await synced([a, b])
  const before = await backendId()

  parts.network.clear()
  const restoreNew = await whileDown(parts.upstream, async () => {
    // Somebody writes meanwhile. A push without an answer makes the Sequencer look at the log before it writes again
    a.note(2)
    await eventually(
      'a push in vain',
      () => refusals(503).length > 0,
      () => a.status(),
    )
    const restoreNew = await parts.data.upstream.save()
    await restoreOld()
    return restoreNew
  })
  const inVain = refusals(503).length
  await eventually(
    'a refused push',
    () => refusals(503).length > inVain,
    () => a.status(),
  )
  const refused = await store().push(refusals(503)[0]?.body.toString() ?? '')
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '30'])
  expect(await refused.json()).toMatchObject({
    type: problemType('store-halted'),
    _tag: 'StoreHaltedError',
    detail: expect.stringMatching(/ends at event 5, but event 8 was acknowledged: .* restored to an older state/),
  })
  // The users still see all their data, and their commits meanwhile are kept
  b.note(1)
  expect([a.count(), b.count(), a.pending(), b.pending()]).toEqual([10, 9, 2, 1])
  expect((await log()).events).toBe(5)

  await whileDown(parts.upstream, restoreNew)
  const ms = await timed(() => converged([a, b], 11, REPEAT_MS))
  await synced([a, b])
  report('the newer state put back: gone on', [ms], REPEAT_MS)
  expect(await backendId()).toBe(before)
  const { events, notesOf: logged } = await log()
  expect([events, logged('a'), logged('b')]).toEqual([11, notesOf('a', 7), notesOf('b', 4)])
}, 90_000)

// A Sequencer that was idle while the upstream was down has no reason to look again. The server itself must refuse, because it
// does not know the producer's earlier appends (protocol §5.2.1).
test('an upstream restored to an older state while the Sequencer was idle: the server itself refuses the push', async () => {
  const events = (first: number, count: number) => JSON.stringify(notesFrom(first - 1, count))
  expect((await store().push(events(1, 5))).status).toBe(200)
  const restoreOld = await whileDown(parts.upstream, () => parts.data.upstream.save())
  expect((await store().push(events(6, 3))).status).toBe(200)
  await whileDown(parts.upstream, restoreOld)
  expect((await store().push(events(9, 10))).status).toBe(503)
  expect((await log()).events).toBe(5)
})

test('a Durable Object that has lost its storage: the chain goes on unnoticed', async () => {
  const [a, b] = [await boot('a'), await boot('b')]
  a.note(3)
  await converged([a, b], 3)
  await synced([a, b])
  const before = await backendId()
  await parts.worker.kill()
  await parts.data.worker.wipe()
  a.note(2)
  await parts.worker.restart()
  const ms = await timed(() => converged([a, b], 5, NOTICE_MS))
  b.note(2)
  await converged([a, b], 7)
  await synced([a, b])
  report('went on without the Durable Object’s storage', [ms], NOTICE_MS)
  expect(await backendId()).toBe(before)
  const { events, notesOf: logged } = await log()
  expect([events, logged('a'), logged('b')]).toEqual([7, notesOf('a', 5), notesOf('b', 2)])
}, 60_000)
