// A pull resumes after every event, in the mode in which it began or in another.
import { Effect, Option, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Backend,
  cursorAt,
  follow,
  type Item,
  open,
  openElsewhere,
  pullAll,
  run,
  seqNums,
} from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork, type Network, refusal } from '../support/network.ts'
import { type Mode, modes, startWorld, type World } from '../support/world.ts'

/** Few events already make several pages of history. */
const SEGMENT_EVENTS = '10'

let world: World
beforeAll(async () => {
  world = await startWorld({ vars: { SEGMENT_EVENTS } })
})
afterAll(() => world?.stop())

describe('resuming', () => {
  /** Single events, big batches and small ones, of several writers in every mode; more than one page of the Worker's. */
  const history = (storeId: string) =>
    Effect.gen(function* () {
      const writers = yield* Effect.forEach(modes, (mode) => openElsewhere(world.access(mode), storeId))
      let head = 0
      for (const [i, size] of [1, 1, 4, 1, 11, 2, 1, 3, 1, 5].entries()) {
        yield* writers[i % writers.length]!.push(eventsFrom(head, size, {}, `writer-${i % writers.length}`))
        head += size
      }
      return head
    })

  /** A pull from behind each event gives exactly the rest, once and in order, in the same mode or in another. */
  const resumeFromEach = (items: readonly Item[], head: number, storeId: string, modeAt: (seqNum: number) => Mode) =>
    Effect.forEach(
      numbers(1, head),
      (seqNum) =>
        Effect.gen(function* () {
          const backend = yield* openElsewhere({ ...world.access(modeAt(seqNum)), pull: { maxItemEvents: 6 } }, storeId)
          const rest = yield* pullAll(backend, cursorAt(items, seqNum))
          expect(seqNums(rest)).toEqual(numbers(seqNum + 1, head))
          expect(rest.at(-1)?.pageInfo._tag).toBe('NoMore')
        }),
      { discard: true },
    )

  test.each(modes)(
    '%s: a pull resumes after every event of a catch-up',
    (mode) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const head = yield* history(storeId)
          const backend = yield* openElsewhere({ ...world.access(mode), pull: { maxItemEvents: 5 } }, storeId)
          const items = yield* pullAll(backend)
          expect(seqNums(items)).toEqual(numbers(1, head))
          yield* resumeFromEach(items, head, storeId, () => mode)
          yield* resumeFromEach(items, head, storeId, (seqNum) => modes[seqNum % 3]!)
        }),
      ),
    60_000,
  )

  test.each(modes)(
    '%s: a pull resumes after every event that came live',
    (mode) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const follower = yield* Effect.flatMap(openElsewhere(world.access(mode), storeId), follow)
          yield* follower.until('the first item', () => follower.items.length > 0)
          const head = yield* history(storeId)
          yield* follower.until('all', () => follower.seqNums().length === head)
          yield* resumeFromEach(follower.items, head, storeId, () => mode)
        }),
      ),
    60_000,
  )

  test.each(modes)(
    '%s: a pull that is interrupted after every item goes on from there',
    (mode) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const head = yield* history(storeId)
          const backend = yield* openElsewhere({ ...world.access(mode), pull: { maxItemEvents: 1 } }, storeId)
          const pulled: Item[] = []
          for (let cursor: Parameters<Backend['pull']>[0] = Option.none(); seqNums(pulled).length < head; ) {
            const [item] = yield* backend.pull(cursor, { live: true }).pipe(
              Stream.take(1),
              Stream.runCollect,
              Effect.map((_) => [..._]),
            )
            pulled.push(item!)
            cursor = cursorAt(pulled, seqNums(pulled).at(-1)!)
          }
          expect(seqNums(pulled)).toEqual(numbers(1, head))
        }),
      ),
    60_000,
  )

  test.each(modes)('%s: a pull finds a cursor of another provider by its seqNum', (mode) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const head = yield* history(storeId)
        const network = makeNetwork()
        for (const seqNum of [1, 15, head - 1, head]) {
          const backend = yield* openElsewhere({ ...world.access(mode), fetch: network.fetch }, storeId)
          const cursor = Option.some({ eventSequenceNumber: seqNum as never, metadata: Option.none() })
          const follower = yield* follow(backend, cursor)
          yield* follower.until(
            'the rest',
            () => follower.seqNums().length === head - seqNum && follower.items.at(-1)?.pageInfo._tag === 'NoMore',
          )
          expect(follower.seqNums()).toEqual(numbers(seqNum + 1, head))
          yield* follower.stop
        }
        const asked = network.asked.filter((_) => _.method === 'GET' && _.live === null)
        expect(asked.some((_) => _.url.searchParams.has('after'))).toBe(mode === 'proxy')
        // The pull read no dropped event, except in the append that holds the cursor
        if (mode === 'proxy')
          expect(asked.every((_) => _.url.searchParams.get('offset') !== '-1' || _.url.searchParams.has('after'))).toBe(
            true,
          )
      }),
    ),
  )

  test('a pull resumes after every event that was found by a seqNum', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const head = yield* history(storeId)
        const backend = yield* openElsewhere(world.access('proxy'), storeId)
        const items = yield* pullAll(backend, Option.some({ eventSequenceNumber: 4 as never, metadata: Option.none() }))
        expect(seqNums(items)).toEqual(numbers(5, head))
        for (const seqNum of numbers(5, head)) {
          const rest = yield* pullAll(yield* openElsewhere(world.access('proxy'), storeId), cursorAt(items, seqNum))
          expect(seqNums(rest)).toEqual(numbers(seqNum + 1, head))
        }
      }),
    ))

  test('a log that ends before the cursor’s seqNum is another log: the pull fails and says so', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const head = yield* history(storeId)
        const backend = yield* openElsewhere(world.access('proxy'), storeId)
        const cursor = Option.some({ eventSequenceNumber: (head + 5) as never, metadata: Option.none() })
        const error = yield* Effect.flip(pullAll(backend, cursor))
        expect(error).toMatchObject({
          _tag: 'UnknownError',
          note: expect.stringMatching(`the log ends before event ${head + 5}`),
        })
      }),
    ))
})

describe('a recreated log that ends before the cursor’s seqNum', () => {
  const shortened = (network: Network) =>
    Effect.gen(function* () {
      const storeId = world.newStore()
      const backend = yield* open({ ...world.access('proxy'), fetch: network.fetch }, storeId)
      yield* backend.push(eventsFrom(0, 5))
      // The Worker does not know the new log yet, unless it is asked for it directly
      network.intercept((ask) => {
        const problem = { title: 'Bad Request', detail: 'the log ends at 2', field: 'after' }
        return ask.method === 'GET' ? refusal(400, 'bad-request', problem) : undefined
      })
      const cursor = Option.some({ eventSequenceNumber: 5 as never, metadata: Option.none() })
      return { backend, cursor }
    })
  const isAnother = () =>
    Promise.resolve(new Response(null, { headers: { 'livestore-backend-id': 'another', 'livestore-head': '2' } }))

  test('is another backend’s: the pull fails with the mismatch', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { backend, cursor } = yield* shortened(network)
        network.intercept((ask) => (ask.method === 'HEAD' ? isAnother() : undefined))
        expect(yield* Effect.flip(pullAll(backend, cursor))).toMatchObject({
          _tag: 'BackendIdMismatchError',
          received: 'another',
        })
      }),
    ))

  test('gives no event before the pull knows its backend', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { backend, cursor } = yield* shortened(network)
        let looks = 0
        network.intercept((ask) =>
          ask.method !== 'HEAD' ? undefined : ++looks < 8 ? Promise.reject(new TypeError('no network')) : isAnother(),
        )
        const follower = yield* follow(backend, cursor)
        yield* follower.until('the end', () => follower.exit() !== undefined)
        expect(follower.exit()).toMatchObject({
          cause: { error: { _tag: 'BackendIdMismatchError', received: 'another' } },
        })
        expect(looks).toBe(8)
      }),
    ))
})
