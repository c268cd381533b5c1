// The catch-up of a live pull after a ServerAheadError.
import { ServerAheadError } from '@livestore/common'
import { Effect } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually, follow, open, openElsewhere, pullAll, run } from '../support/backend.ts'
import { type Event, eventsFrom, numbers } from '../support/events.ts'
import { isLive, makeNetwork, silent } from '../support/network.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

describe('ServerAheadError makes the live pull catch up at once', () => {
  // As in livestorejs/livestore issues 1394 and 1462: the pull that LiveStore waits for is dead, and nobody knows
  test('though its connection has died silently', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, storeId)
        const other = yield* openElsewhere({ url: world.worker.url }, storeId)
        network.intercept((ask) => (isLive(ask) ? silent(ask) : undefined))
        const follower = yield* follow(backend)
        yield* eventually('live', () => network.count(isLive) > 0)
        yield* other.push(eventsFrom(0, 5, {}, 'other'))
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(ServerAheadError)
        yield* follower.until('what it missed', () => follower.seqNums().length === 5, 1_000)
        expect(yield* backend.isConnected.get).toBe(true)
      }),
    ))

  test('and again, until it has brought the events that the push lacked', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, storeId)
        const other = yield* openElsewhere({ url: world.worker.url }, storeId)
        // A cache or a replica answers the catch-ups with old pages
        let lagging = 0
        const follower = yield* follow(backend)
        yield* eventually('live', () => network.count(isLive) > 0)
        network.intercept((ask) => {
          if (isLive(ask)) return silent(ask)
          if (ask.method !== 'GET' || lagging++ >= 4) return undefined
          const headers = {
            'stream-next-offset': ask.url.searchParams.get('offset') ?? '',
            'stream-up-to-date': 'true',
          }
          return Promise.resolve(new Response('[]', { headers: { ...headers, 'content-type': 'application/json' } }))
        })
        world.network.setOnline(false)
        world.network.setOnline(true)
        yield* other.push(eventsFrom(0, 5, {}, 'other'))
        yield* backend
          .push(eventsFrom(0, 1))
          .pipe(Effect.retry({ while: (_) => _._tag === 'IsOfflineError', times: 20 }), Effect.flip)
        yield* follower.until('what it missed', () => follower.seqNums().length === 5)
        expect(lagging).toBeGreaterThanOrEqual(5)
      }),
    ))

  test('while it waits for its next try', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const network = makeNetwork()
        const options = {
          url: world.network.url,
          fetch: network.fetch,
          retry: { initialDelay: 60_000, maxDelay: 60_000 },
        }
        const backend = yield* open(options, storeId)
        const other = yield* openElsewhere({ url: world.worker.url }, storeId)
        yield* other.push(eventsFrom(0, 5, {}, 'other'))
        const undo = network.intercept((ask) =>
          ask.method === 'GET' ? Promise.reject(new TypeError('no')) : undefined,
        )
        const follower = yield* follow(backend)
        yield* eventually('a failed try', () => network.asked.length > 0)
        undo()
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(ServerAheadError)
        yield* follower.until('what it missed', () => follower.seqNums().length === 5, 2_000)
      }),
    ))

  test('but reads nothing without a live pull', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 5))
        yield* Effect.flip(backend.push(eventsFrom(0, 1, {}, 'another')))
        expect(network.asked.filter((_) => _.method === 'GET')).toEqual([])
      }),
    ))

  test(
    'two writers that only push and pull get all their events in',
    () =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const writers = yield* Effect.forEach(['a', 'b'], (name) =>
            Effect.map(openElsewhere({ url: world.network.url }, storeId), (backend) => ({ name, backend })),
          )
          yield* Effect.forEach(
            writers,
            ({ name, backend }) =>
              Effect.gen(function* () {
                const follower = yield* follow(backend)
                const head = () => follower.seqNums().at(-1) ?? 0
                for (let n = 0; n < 25; n++) {
                  // After a refusal LiveStore's leader waits for the pull and rebases
                  yield* Effect.suspend(() => backend.push(eventsFrom(head(), 1, { n }, name))).pipe(
                    Effect.tapErrorTag('ServerAheadError', ({ minimumExpectedNum }) =>
                      follower.until('what it missed', () => head() >= minimumExpectedNum - 1),
                    ),
                    Effect.retry({ while: (_) => _._tag === 'ServerAheadError' }),
                  )
                }
              }),
            { concurrency: 'unbounded' },
          )
          const items = yield* pullAll(writers[0]!.backend)
          const events = items.flatMap((_) => _.batch).map((_) => _.eventEncoded as Event)
          expect(events.map((_) => _.seqNum)).toEqual(numbers(1, 50))
          for (const { name } of writers) {
            const own = events.filter((_) => _.clientId === name).map((_) => _.args.n)
            expect(own).toEqual(numbers(0, 24))
          }
        }),
      ),
    60_000,
  )
})
