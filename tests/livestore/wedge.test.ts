// Faults that could wedge a client for good: real stores go through them, and the tests measure how long each takes to recover.
//
// In LiveStore 0.4.0 a commit in the middle of its session's rebase can break the session, whatever the provider (see
// sync.test.ts, "2,000 events"). Therefore every store here commits only while it has nothing pending, or while it is cut off:
// no rebase is under way then.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/wait.ts'
import { type Departure, makeLeaver, type Push } from './leaver.ts'
import { makeOpened, type Parts, report, startParts, timed } from './parts.ts'
import { agree, checkLog, notesOf, openStore, type TestStore } from './support.ts'

/** The time from a free network until nothing is pending and all show the same. It includes LiveStore's own backoff. */
const BOUND_MS = 15_000

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

/** By default, devices come back spread over two seconds. These tests measure what follows. */
const AT_ONCE = { live: { reconnectSpread: 0 } }

const start = async (name: string, mode: 'websocket' | 'sse' = 'websocket') =>
  opened.add(await openStore({ name, storeId, sync: { url: parts.network.url, live: { mode, ...AT_ONCE.live } } }))

const whole = (stores: readonly TestStore[], count: number) =>
  eventually(
    `nothing pending, and everywhere the same ${count} notes`,
    () => stores.every((_) => _.pending() === 0) && agree(stores, count),
    () => stores.map((_) => _.status()),
    BOUND_MS,
  )

const cutOff = async (stores: readonly TestStore[]) =>
  eventually(
    `${stores.map((_) => _.name).join(', ')} cut off`,
    () => stores.every((_) => !_.isConnected()),
    () => stores.map((_) => _.status()),
  )

/** Waits until the leaders have all commits. From then on it is the backend's turn. */
const handedOver = (stores: readonly TestStore[]) =>
  eventually(
    'all with the leader',
    () => stores.every((_) => _.pendingInSession() === 0),
    () => stores.map((_) => _.status()),
  )

const log = async () => checkLog(await parts.atUpstream(storeId).messages())

/** Expects each note of each store in the log once, in its order, and nothing else. */
const expectOnce = async (made: Readonly<Record<string, number>>) => {
  const { events, notesOf: logged } = await log()
  for (const [name, count] of Object.entries(made)) expect(logged(name)).toEqual(notesOf(name, count))
  expect(events).toBe(Object.values(made).reduce((sum, count) => sum + count, 0))
}

test.each(['websocket', 'sse'] as const)(
  'two stores by %s that commit offline and reconnect at the same moment, 50 times, are in sync soon',
  async (mode) => {
    const [a, b] = [await start('a', mode), await start('b', mode)]
    const stores = [a, b]
    const made = { a: 1, b: 1 }
    a.note(1)
    await whole(stores, 1)
    b.note(1)
    await whole(stores, 2)

    const times: number[] = []
    let collisions = 0
    for (let round = 1; round <= 50; round++) {
      parts.network.setOnline(false)
      // In some rounds before the store notices: a push then fails, and LiveStore's backoff has begun
      if (round % 5 !== 0) await cutOff(stores)
      const [ofA, ofB] = [1 + (round % 12), 1 + ((round * 5) % 12)]
      a.note(ofA)
      b.note(ofB)
      made.a += ofA
      made.b += ofB
      await handedOver(stores)
      await cutOff(stores)
      // In every other round both pushes are on their way, on one parent, before either arrives. A socket's pushes are no requests
      const held =
        mode === 'sse' && round % 2 === 0
          ? [1, 2].map(() => parts.network.next({ method: 'POST', path: storeId }, 'hold request'))
          : []
      parts.network.clear()
      times.push(
        await timed(async () => {
          parts.network.setOnline(true)
          await Promise.all(held.map((_) => _.met))
          for (const { release } of held) release()
          await whole(stores, made.a + made.b)
        }),
      )
      collisions += parts.network.requests.filter((_) => _.method === 'POST' && _.status === 409).length
      if (held.length > 0) expect(parts.network.requests.filter((_) => _.status === 409).length).toBeGreaterThan(0)
    }
    await expectOnce(made)
    report(`reconnecting at once by ${mode} (${collisions} pushes refused)`, times, BOUND_MS)
  },
  120_000,
)

/** A store whose reads and pushes can be cut separately. The live pull must be gone before it can echo a push. */
const startSplit = async (name: string) => {
  const [reads, writes] = [await parts.newNetwork(), await parts.newNetwork()]
  const fetchSplit: typeof fetch = (input, init) =>
    fetch(init?.method === 'POST' ? String(input).replace(reads.url, writes.url) : input, init)
  const store = opened.add(await openStore({ name, storeId, sync: { url: reads.url, fetch: fetchSplit, ...AT_ONCE } }))
  return { store, reads, writes }
}

describe('a push is accepted, its acknowledgement lost and the live pull cut, and another store advances the head', () => {
  const rounds = 2
  const ofB = 5

  /** Commits `count` notes, whose first push lands without an answer, then b's. Returns the number of a's pending events. */
  const lose = async (
    { store: a, reads, writes }: Awaited<ReturnType<typeof startSplit>>,
    b: TestStore,
    count: number,
  ) => {
    const before = b.count() === 0 ? 0 : (await log()).notesOf('a').length
    const held = parts.between.next({ method: 'POST', path: storeId }, 'hold request')
    const lost = writes.next({ method: 'POST' }, 'drop response')
    a.note(count)
    await handedOver([a])
    await held.met
    reads.setOnline(false)
    await cutOff([a])
    held.release()
    await lost.met
    writes.setOnline(false)
    const landed = (await log()).notesOf('a').length - before
    expect(landed).toBeGreaterThan(0)
    expect(a.pending()).toBe(count)
    const { events } = await log()
    await whole([b], events)
    b.note(ofB)
    await whole([b], events + ofB)
    return count - landed
  }

  // More events than LiveStore pushes at once (50), and fewer
  test.each([3, 70])(
    'and the pull comes back first: %i events',
    async (count) => {
      const [split, b] = [await startSplit('a'), await start('b')]
      const { store: a, reads, writes } = split
      const times: number[] = []
      for (let round = 1; round <= rounds; round++) {
        const pending = await lose(split, b, count)
        times.push(
          await timed(async () => {
            reads.setOnline(true)
            await eventually(
              'a has pulled',
              () => a.pending() === pending,
              () => a.status(),
              BOUND_MS,
            )
            writes.setOnline(true)
            await whole([a, b], round * (count + ofB))
          }),
        )
      }
      await expectOnce({ a: rounds * count, b: rounds * ofB })
      report(`an acknowledgement lost, and pulled (${count} events)`, times, BOUND_MS)
    },
    90_000,
  )

  test.each([3, 70])(
    'and the push is repeated first, and refused: %i events',
    async (count) => {
      const [split, b] = [await startSplit('a'), await start('b')]
      const { store: a, reads, writes } = split
      const times: number[] = []
      for (let round = 1; round <= rounds; round++) {
        await lose(split, b, count)
        writes.clear()
        times.push(
          await timed(async () => {
            writes.setOnline(true)
            await eventually(
              'a is refused',
              () => writes.requests.some((_) => _.status === 409),
              () => a.status(),
              BOUND_MS,
            )
            expect(a.pending()).toBe(count)
            reads.setOnline(true)
            await whole([a, b], round * (count + ofB))
          }),
        )
      }
      await expectOnce({ a: rounds * count, b: rounds * ofB })
      report(`an acknowledgement lost, and refused (${count} events)`, times, BOUND_MS)
    },
    90_000,
  )
})

test('the Durable Object restarts between a push’s append and its record: the stores are in sync soon', async () => {
  const [{ store: a, reads, writes }, b] = [await startSplit('a'), await start('b')]
  const made = { a: 0, b: 0 }
  const times: number[] = []
  // The first push of a store, of which only the creation is recorded; a later push; and one more, when the other store has
  // news as well once the Worker is back
  for (const withNews of [false, false, true]) {
    const request = writes.next({ method: 'POST' }, 'hold request')
    a.note(3)
    made.a += 3
    await request.met
    reads.setOnline(false)
    await cutOff([a])
    const append = parts.between.next({ method: 'POST', path: storeId }, 'hold response')
    request.release()
    await append.met
    expect((await log()).notesOf('a')).toHaveLength(made.a)
    await parts.worker.kill()
    parts.between.abandon()
    expect(a.pending()).toBe(3)
    if (withNews) {
      b.note(2)
      made.b += 2
      await handedOver([b])
    }
    reads.setOnline(true)
    await parts.worker.restart()
    times.push(await timed(() => whole([a, b], made.a + made.b)))
  }
  await expectOnce(made)
  report('a Sequencer killed between append and record', times, BOUND_MS)
}, 120_000)

test('clients leave in mid-push, 200 times, while others push: the log is one chain', async () => {
  const [a, b] = [await start('a'), await start('b')]
  const stores = [a, b]
  const names = ['v', 'w', 'x', 'y', 'z']
  const leavers = names.map((name) =>
    makeLeaver({ name, workerUrl: parts.worker.url, storeId, between: parts.between }),
  )
  const pushes: Push[] = []
  const times: number[] = []
  const rounds = 40
  for (let round = 1; round <= rounds; round++) {
    const held: Departure = round % 2 === 0 ? 'before the append' : 'after the append'
    const departures: Departure[] = ['in mid-body', 'all sent', 'all sent', held, 'all sent']
    // The departures rotate, so that none is always the first
    const leaving = leavers.map((leaver, i) => leaver.leave(departures[(i + round) % departures.length] ?? held))
    for (const store of stores) store.note(1 + (round % 3))
    const tried = Promise.all(leaving).then((all) => pushes.push(...all.flat()))
    times.push(
      await timed(async () => {
        await tried
        await settled(stores)
      }),
    )
  }

  const left = pushes.filter((_) => _.status === undefined)
  expect(left).toHaveLength(200)
  const { events, notesOf: logged } = await log()
  const perStore = Array.from({ length: rounds }, (_, i) => 1 + ((i + 1) % 3)).reduce((sum, count) => sum + count, 0)
  for (const { name } of stores) expect(logged(name)).toEqual(notesOf(name, perStore))
  const inLog = new Set(names.flatMap(logged))
  expect(inLog.size).toBe(events - 2 * perStore) // so each is there at most once
  for (const push of pushes) {
    const found = push.notes.filter((_) => inLog.has(_)).length
    expect({ ...push, found }).toEqual({ ...push, found: found === 0 ? 0 : push.notes.length })
    if (push.status === 200 || (push.departure.endsWith('the append') && push.status === undefined))
      expect(found).toBeGreaterThan(0)
    if (push.departure === 'in mid-body' || push.status === 409) expect(found).toBe(0)
  }
  const landed = left.filter((_) => inLog.has(_.notes[0] ?? ''))
  report(`clients leaving (${left.length} times, ${landed.length} of their pushes in the log)`, times, BOUND_MS)
}, 120_000)

/** Waits until the stores have the whole log, and nothing pending. */
const settled = async (stores: readonly TestStore[]) => {
  const deadline = Date.now() + BOUND_MS
  for (;;) {
    await eventually(
      'nothing pending',
      () => stores.every((_) => _.pending() === 0),
      () => stores.map((_) => _.status()),
      BOUND_MS,
    )
    // The request goes through the Worker, behind the pushes of the clients that left
    const head = Number((await parts.atWorker(storeId).request('HEAD')).headers.get('livestore-head'))
    if (stores.every((_) => _.pending() === 0 && _.count() === head)) break
    if (Date.now() > deadline)
      throw new Error(`not within ${BOUND_MS} ms: ${head} notes in ${JSON.stringify(stores.map((_) => _.status()))}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  expect(new Set(stores.map((_) => JSON.stringify(_.state()))).size).toBe(1)
}
