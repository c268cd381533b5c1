// LiveStore's own suite for providers (livestorejs/livestore v0.4.0, tests/sync-provider), applied to this one.
import { SyncBackend } from '@livestore/common'
import { Effect, Option, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cursorAt, follow, open, pullAll, run, seqNums } from '../support/backend.ts'
import { type Event, eventsFrom } from '../support/events.ts'
import { logs } from '../support/logs.ts'
import { startWorld, type World } from '../support/world.ts'

describe.each(logs)('on $name', ({ start }) => {
  let world: World
  beforeAll(async () => {
    world = await startWorld({ upstream: await start() })
  })
  afterAll(() => world?.stop())

  const openStore = (storeId = world.newStore()) => open({ url: world.network.url }, storeId)

  const pushInBatches = (
    backend: { push: (batch: Event[]) => Effect.Effect<void, unknown> },
    events: Event[],
    size: number,
  ) =>
    Effect.forEach(
      Array.from({ length: Math.ceil(events.length / size) }, (_, i) => events.slice(i * size, (i + 1) * size)),
      backend.push,
      { discard: true },
    )

  test('can be created', () =>
    run(
      Effect.map(openStore(), (backend) => {
        expect(backend).toMatchObject({ supports: { pullPageInfoKnown: true, pullLive: true } })
        expect(backend.metadata.name).toBe('livestore-sync-durable-streams')
      }),
    ))

  test('can ping', () => run(Effect.flatMap(openStore(), (_) => _.ping)))

  test('is not connected at first, and connected after connect', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* openStore()
        expect(yield* backend.isConnected.get).toBe(false)
        yield* backend.connect
        expect(yield* backend.isConnected.get).toBe(true)
      }),
    ))

  test('a pull of an empty store is one empty item', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* openStore()
        expect(yield* pullAll(backend)).toEqual([SyncBackend.pullResItemEmpty()])
      }),
    ))

  describe('live pull', () => {
    test('says NoMore first on an empty store', () =>
      run(
        Effect.gen(function* () {
          const backend = yield* openStore()
          const first = yield* backend.pull(Option.none(), { live: true }).pipe(Stream.runHead)
          expect(first).toEqual(Option.some(SyncBackend.pullResItemEmpty()))
        }),
      ))

    test('idles and receives a later event', () =>
      run(
        Effect.gen(function* () {
          const backend = yield* openStore()
          const follower = yield* follow(backend)
          yield* follower.until('the first item', () => follower.items.length > 0)
          yield* Effect.sleep(800) // tests idling
          yield* backend.push(eventsFrom(0, 1))
          yield* follower.until('the event', () => follower.seqNums().length > 0)
          expect(follower.items.at(-1)?.batch.length).toBe(1)
        }),
      ))

    test('goes on after the backend was down', () =>
      run(
        Effect.gen(function* () {
          const backend = yield* openStore()
          const follower = yield* follow(backend)
          yield* follower.until('the first item', () => follower.items.length > 0)
          world.network.setOnline(false)
          yield* Effect.sleep(100)
          world.network.setOnline(true)
          yield* backend.push(eventsFrom(0, 1))
          yield* follower.until('the event', () => follower.seqNums().length === 1)
        }),
      ))
  })

  test('a pull goes on from a cursor', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* openStore()
        yield* backend.push(eventsFrom(0, 1))
        const first = yield* pullAll(backend)
        expect(seqNums(first)).toEqual([1])
        expect(yield* pullAll(backend, SyncBackend.cursorFromPullResItem(first[0]!))).toEqual([
          SyncBackend.pullResItemEmpty(),
        ])
      }),
    ))

  test('several pushes come back in one pull, in order', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* openStore()
        yield* backend.push(eventsFrom(0, 1))
        yield* backend.push(eventsFrom(1, 1))
        expect(seqNums(yield* pullAll(backend))).toEqual([1, 2])
      }),
    ))

  test.each([
    ['dozens of extremely large events', 60, 120_000, 6],
    ['thousands of small events', 1_800, 1_024, 90],
  ])(
    '%s',
    (_, count, size, batchSize) =>
      run(
        Effect.gen(function* () {
          const backend = yield* openStore()
          const events = eventsFrom(0, count, { text: 'x'.repeat(size) })
          yield* pushInBatches(backend, events, batchSize)
          const items = yield* pullAll(backend)
          expect(items.flatMap((item) => item.batch.map(({ eventEncoded }) => eventEncoded))).toEqual(events)
        }),
      ),
    60_000,
  )

  test('a pull gives only the items that are taken', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url, pull: { maxItemEvents: 2 } }, world.newStore())
        const [first, ...rest] = eventsFrom(99, 10)
        yield* backend.push([{ ...first!, parentSeqNum: 0 } as Event, ...rest])
        const some = yield* backend.pull(Option.none()).pipe(Stream.take(3), Stream.runCollect)
        expect([...some].map((_) => _.pageInfo)).toEqual(
          [8, 6, 4].map((remaining) => ({ _tag: 'MoreKnown', remaining })),
        )
        expect(seqNums(yield* pullAll(backend)).length).toBe(10)
      }),
    ))

  test(
    '10,000 events from seqNum 20,000, and from the middle of them',
    () =>
      run(
        Effect.gen(function* () {
          const backend = yield* openStore()
          const [first, ...rest] = eventsFrom(19_999, 10_000)
          yield* pushInBatches(backend, [{ ...first!, parentSeqNum: 0 } as Event, ...rest], 100)
          const items = yield* pullAll(backend)
          expect(seqNums(items)).toEqual(Array.from({ length: 10_000 }, (_, i) => 20_000 + i))
          const fromMiddle = yield* pullAll(backend, cursorAt(items, 25_000))
          expect(seqNums(fromMiddle)).toEqual(Array.from({ length: 4_999 }, (_, i) => 25_001 + i))
        }),
      ),
    60_000,
  )
})
