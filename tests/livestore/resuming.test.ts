// A store's log was copied to a server of another kind, with its backendId. The devices come back with offsets of the old
// server. On the new one these lie inside a record, or beyond the end.

import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { makeFolder, removeFolder, startNodeUpstream } from '../harness/index.ts'
import { eventsFrom } from '../support/events.ts'
import { makeBadge } from '../support/problems.ts'
import { eventually } from '../support/wait.ts'
import { type Mode, startWorld, type World } from '../support/world.ts'
import { makeOpened } from './parts.ts'
import { checkLog, converged, notesOf, openStore, type TestStore } from './support.ts'

let node: World
let rust: World
let disks: string

beforeAll(async () => {
  disks = await makeFolder('resuming')
  ;[node, rust] = await Promise.all([startNodeUpstream().then((upstream) => startWorld({ upstream })), startWorld()])
})
afterAll(async () => {
  for (const place of [node, rust]) await place?.stop()
  await removeFolder(disks)
})

/** Moves the log as `npm run move` does with `adopt`: the old header first, then the events through the Worker. */
const copy = async (from: World, to: World, storeId: string) => {
  const [header, ...events] = await from.atUpstream(storeId).messages()
  const headers = { 'content-type': 'application/json' }
  const made = await fetch(`${to.upstream.url}/default/${storeId}`, {
    method: 'PUT',
    headers,
    body: JSON.stringify([header]),
  })
  const pushed = await to.atWorker(storeId).push(events)
  if (!made.ok || !pushed.ok) throw new Error(`not copied: ${made.status}, ${pushed.status} ${await pushed.text()}`)
}

/** A device goes away after `seen` notes. The log moves after `more` further notes. Then the device is back. */
const moveWith = async (from: World, to: World, mode: Mode, seen: number, more: number) => {
  const storeId = from.newStore()
  const opened = makeOpened()
  const badges = { a: makeBadge(), b: makeBadge() }
  const open = async (place: World, name: 'a' | 'b') => {
    const sync = { ...place.access(mode), retry: { maxDelay: 500 }, ...badges[name].options }
    return opened.add(await openStore({ name, storeId, directory: join(disks, storeId), sync }))
  }
  const pushed = (store: TestStore) =>
    eventually(
      `${store.name} has pushed`,
      () => store.pending() === 0,
      () => store.status(),
    )

  const [a, b] = await Promise.all([open(from, 'a'), open(from, 'b')])
  // One by one, so that the log has the offsets of many appends
  for (let i = 1; i <= seen; i++) {
    a.note(1)
    await converged([a, b], i)
    await pushed(a)
  }
  b.note(1) // once it is here, so is the echo of what a pushed before
  await converged([a, b], seen + 1)
  await opened.stop(a)
  if (more > 0) b.note(more)
  await pushed(b)
  await opened.stop(b)
  await copy(from, to, storeId)
  const total = seen + 1 + more
  return { storeId, total, open: (name: 'a' | 'b') => open(to, name), badges, close: opened.stopAll }
}

const requestsFor = ({ network, bypass }: World, storeId: string) =>
  [...network.requests, ...bypass.requests].filter(({ path }) => path.includes(storeId)).sort((a, b) => a.at - b.at)

const asked = (place: World, storeId: string) =>
  requestsFor(place, storeId)
    .slice(-20)
    .map(({ at, method, query, status }) => `${Math.round(at)} ${method} ?${query} ${status ?? 'no answer'}`)

const offsetsAsked = (place: World, storeId: string) =>
  requestsFor(place, storeId).flatMap(({ method, query }) =>
    method === 'GET' && query.has('offset') ? [query.get('offset') ?? ''] : [],
  )

describe.for<[string, () => World, () => World]>([
  ['the Node server to the Rust server', () => node, () => rust],
  ['the Rust server to the Node server', () => rust, () => node],
])('from %s', ([, from, to]) => {
  describe.for<[string, number, number]>([
    ['inside a record', 7, 9],
    ['at the end, or beyond it', 7, 0],
  ])('a device whose offset is %s', ([, seen, more]) => {
    test.concurrent.for<Mode>(['proxy', 'hybrid', 'direct'])(
      '%s: reads on, and has every event once',
      async (mode, { expect, onTestFinished }) => {
        const { storeId, total, open, badges, close } = await moveWith(from(), to(), mode, seen, more)
        onTestFinished(close)
        const [again, other] = await Promise.all([open('a'), open('b')])
        const stores = [again, other]
        const whole = (count: number) =>
          eventually(
            `both with the same ${count} notes, nothing pending, connected`,
            () =>
              stores.every((_) => _.count() === count && _.pending() === 0 && _.isConnected()) &&
              JSON.stringify(again.state()) === JSON.stringify(other.state()),
            () => [...stores.map((_) => _.status()), badges.a.told, badges.b.told, asked(to(), storeId)],
            10_000,
          )
        // Both follow from their cursors before anything new comes
        await whole(total)
        other.note(1)
        await whole(total + 1)
        again.note(1)
        await whole(total + 2)
        expect([badges.a.shows(), badges.b.shows()]).toEqual([undefined, undefined])

        const { events, notesOf: logged } = checkLog(await to().atUpstream(storeId).messages())
        expect([events, logged('a'), logged('b')]).toEqual([total + 2, notesOf('a', seen + 1), notesOf('b', more + 2)])
        // The provider tries the old offset, but not repeatedly
        const counts = Object.values(Object.groupBy(offsetsAsked(to(), storeId), (_) => _)).map((_) => _?.length ?? 0)
        expect(Math.max(...counts)).toBeLessThan(8)
      },
    )
  })
})

// An offset beyond the end reads as empty, and only later turns out to be inside a record
test.for<Mode>(['proxy', 'hybrid', 'direct'])(
  '%s: a device survives a log that grows over its offset between two reads',
  async (mode, { expect, onTestFinished }) => {
    const { storeId, total, open, badges, close } = await moveWith(node, rust, mode, 7, 0)
    onTestFinished(close)
    const road = mode === 'proxy' ? rust.network : rust.bypass
    const held = road.next({ method: 'GET', path: storeId, live: 'any' }, 'hold request')
    const again = await open('a')
    await held.met
    const pushed = await rust.atWorker(storeId).push(eventsFrom(total, 1, { id: 'w-1', writer: 'w', slot: 1 }, 'w'))
    held.release()
    expect(pushed.status).toBe(200)
    const state = () => [again.status(), badges.a.told, asked(rust, storeId)]
    await eventually('a has the event', () => again.count() === total + 1 && again.isConnected(), state, 8_000)
    again.note(1)
    await eventually('nothing pending', () => again.pending() === 0, state, 8_000)
    expect(checkLog(await rust.atUpstream(storeId).messages()).events).toBe(total + 2)
  },
)
