// A store's log was copied to a server of another kind, with its backendId. The devices come back with offsets of the old
// server. On the new one these lie inside a record, or beyond the end.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import {
  type CountingProxy,
  type Server,
  startCountingProxy,
  startNodeUpstream,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'
import type { Access, Mode } from '../provider/support/world.ts'
import { makeOpened } from './parts.ts'
import { makeBadge } from './scene.ts'
import { checkLog, converged, eventually, notesOf, openStore, type TestStore } from './support.ts'

/** An upstream, a Worker before it, and the network before both. */
interface Place {
  readonly upstream: Server
  readonly worker: Server
  readonly network: CountingProxy
  readonly bypass: CountingProxy
}

let node: Place
let rust: Place
let disks: string

const startPlace = async (start: () => Promise<Server>): Promise<Place> => {
  const upstream = await start()
  const worker = await startWorker({ upstreamUrl: upstream.url })
  return {
    upstream,
    worker,
    network: await startCountingProxy(worker.url),
    bypass: await startCountingProxy(upstream.url),
  }
}

beforeAll(async () => {
  disks = await mkdtemp(join(tmpdir(), 'headwater-resuming-'))
  ;[node, rust] = await Promise.all([startPlace(startNodeUpstream), startPlace(startRustUpstream)])
})
afterAll(async () => {
  for (const place of [node, rust]) {
    await place?.network.stop()
    await place?.bypass.stop()
    await place?.worker.stop()
    await place?.upstream.stop()
  }
  await rm(disks, { recursive: true, force: true, maxRetries: 5 })
})

const accessTo = ({ network, bypass }: Place, mode: Mode): Access => {
  if (mode === 'proxy') return { url: network.url }
  if (mode === 'hybrid') return { mode, url: network.url, upstream: { url: bypass.url } }
  return { mode, upstream: { url: bypass.url } }
}

const messagesAt = async ({ upstream }: Place, storeId: string): Promise<unknown[]> =>
  (await fetch(`${upstream.url}/default/${storeId}?offset=-1`)).json() as Promise<unknown[]>

/** Moves the log as `npm run move` does with `adopt`: the old header first, then the events through the Worker. */
const copy = async (from: Place, to: Place, storeId: string) => {
  const [header, ...events] = await messagesAt(from, storeId)
  const headers = { 'content-type': 'application/json' }
  const made = await fetch(`${to.upstream.url}/default/${storeId}`, {
    method: 'PUT',
    headers,
    body: JSON.stringify([header]),
  })
  const pushed = await fetch(`${to.worker.url}/v1/stream/default/${storeId}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(events),
  })
  if (!made.ok || !pushed.ok) throw new Error(`not copied: ${made.status}, ${pushed.status} ${await pushed.text()}`)
}

let stores = 0

/** A device goes away after `seen` notes. The log moves after `more` further notes. Then the device is back. */
const moveWith = async (from: Place, to: Place, mode: Mode, seen: number, more: number) => {
  const storeId = `store-${++stores}`
  const opened = makeOpened()
  const badges = { a: makeBadge(), b: makeBadge() }
  const open = async (place: Place, name: 'a' | 'b') => {
    const sync = { ...accessTo(place, mode), retry: { maxDelay: 500 }, ...badges[name].options }
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

const requestsFor = ({ network, bypass }: Place, storeId: string) =>
  [...network.requests, ...bypass.requests].filter(({ path }) => path.includes(storeId)).sort((a, b) => a.at - b.at)

const asked = (place: Place, storeId: string) =>
  requestsFor(place, storeId)
    .slice(-20)
    .map(({ at, method, query, status }) => `${Math.round(at)} ${method} ?${query} ${status ?? 'no answer'}`)

const offsetsAsked = (place: Place, storeId: string) =>
  requestsFor(place, storeId).flatMap(({ method, query }) =>
    method === 'GET' && query.has('offset') ? [query.get('offset') ?? ''] : [],
  )

describe.for<[string, () => Place, () => Place]>([
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

        const { events, notesOf: logged } = checkLog(await messagesAt(to(), storeId))
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
    const pushed = await fetch(`${rust.worker.url}/v1/stream/default/${storeId}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([
        {
          name: 'v1.Noted',
          args: { id: 'w-1', writer: 'w', slot: 1 },
          seqNum: total + 1,
          parentSeqNum: total,
          clientId: 'w',
          sessionId: 'w',
        },
      ]),
    })
    held.release()
    expect(pushed.status).toBe(200)
    const state = () => [again.status(), badges.a.told, asked(rust, storeId)]
    await eventually('a has the event', () => again.count() === total + 1 && again.isConnected(), state, 8_000)
    again.note(1)
    await eventually('nothing pending', () => again.pending() === 0, state, 8_000)
    expect(checkLog(await messagesAt(rust, storeId)).events).toBe(total + 2)
  },
)
