// Sealed history through the provider, while the upstream is down and afterwards.

import { Effect, Either, SubscriptionRef } from 'effect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fenceHeader, JSON_TYPE } from '../../client/src/protocol/index.js'
import { eventually, follow, open, openElsewhere, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { startWorld, type World } from '../support/world.ts'

/** Events in a segment. Every push brings 10. */
const SEGMENT = 20
const EVENTS = 90
const SEALED = Math.floor(EVENTS / SEGMENT) * SEGMENT
/** The Worker gives up on an unreachable upstream at once, and tries again soon. */
const patience = { retry: { initialDelay: 50, maxDelay: 500 } }

let world: World

beforeAll(async () => {
  world = await startWorld({ vars: { SEGMENT_EVENTS: String(SEGMENT) } })
})
afterAll(() => world?.stop())

test(
  'a fresh client gets all sealed history while the upstream is down, reports that it is offline, and goes on later',
  () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const options = { url: world.network.url, ...patience }
        const writer = yield* open(options, storeId)
        for (let head = 0; head < EVENTS; head += 10) yield* writer.push(eventsFrom(head, 10))
        // The first read shows the Worker that pushes over the socket have made segments. The second one fills the edge cache.
        for (let read = 0; read < 2; read++) expect(seqNums(yield* pullAll(writer))).toEqual(numbers(1, EVENTS))

        yield* Effect.promise(() => world.upstream.kill())
        // The Worker may lose its memory; the edge cache and the Sequencer's rows stay.
        yield* Effect.promise(() => world.worker.restart())
        const fresh = yield* openElsewhere(options, storeId)
        const live = yield* follow(fresh)
        const isConnected = () => Effect.runSync(SubscriptionRef.get(fresh.isConnected))
        yield* live.until('all sealed history', () => live.seqNums().length === SEALED)
        yield* eventually('an offline state', () => !isConnected())
        expect([live.seqNums(), live.exit()]).toEqual([numbers(1, SEALED), undefined])
        const plain = yield* Effect.either(pullAll(yield* openElsewhere(options, storeId)))
        expect(Either.getLeft(plain)).toMatchObject({ value: { _tag: 'IsOfflineError' } })
        const pushed = yield* Effect.either(writer.push(eventsFrom(EVENTS, 1)))
        expect(Either.getLeft(pushed)).toMatchObject({ value: { _tag: 'IsOfflineError' } })

        yield* Effect.promise(() => world.upstream.restart())
        yield* live.until('the rest', () => live.seqNums().length === EVENTS)
        yield* writer.push(eventsFrom(EVENTS, 1))
        yield* live.until('what is new', () => live.seqNums().length === EVENTS + 1)
        expect([live.seqNums(), isConnected()]).toEqual([numbers(1, EVENTS + 1), true])
        yield* live.stop
      }),
    ),
  60_000,
)

test(
  'a direct-mode pull reads a log that comes in one long page',
  () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const options = { mode: 'direct', upstream: { url: world.upstream.url } } as const
        const long = 200_000
        const url = `${world.upstream.url}/default/${storeId}`
        yield* (yield* open(options, storeId)).push(eventsFrom(0, 1))
        // Appends of 10,000 events are faster than pushes
        for (let head = 1; head < long; head += 10_000) {
          const body = JSON.stringify(eventsFrom(head, Math.min(10_000, long - head)))
          const headers = { ...JSON_TYPE, ...fenceHeader(head) }
          expect((yield* Effect.promise(() => fetch(url, { method: 'POST', headers, body }))).ok).toBe(true)
        }
        expect(seqNums(yield* pullAll(yield* openElsewhere(options, storeId)))).toEqual(numbers(1, long))
      }),
    ),
  60_000,
)
