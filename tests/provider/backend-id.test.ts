// A client learns that its backend was reset, but never by mistake.
import { BackendIdMismatchError } from '@livestore/common'
import { Effect, KeyValueStore, Option } from '@livestore/utils/effect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { headerMessage } from '../../client/src/protocol/index.js'
import {
  type Backend,
  cursorAt,
  eventually,
  type Follower,
  follow,
  open,
  openElsewhere,
  pullAll,
  run,
  seqNums,
} from '../support/backend.ts'
import { eventsFrom } from '../support/events.ts'
import { makeNetwork } from '../support/network.ts'
import { type Badge, makeBadge } from '../support/problems.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

const remembered = Effect.flatMap(KeyValueStore.KeyValueStore, (_) => _.get('backendId'))

/** An administrator resets the store, and somebody writes to it again. */
const reset = (storeId: string, events: number) =>
  Effect.gen(function* () {
    yield* Effect.promise(() => world.atWorker(storeId).request('DELETE'))
    const other = yield* openElsewhere({ url: world.worker.url }, storeId)
    yield* other.push(eventsFrom(0, events, {}, 'other'))
  })

/** The answer of a Worker whose store has this id. */
const acknowledge = (body: unknown, id: string): Response => {
  const events = JSON.parse(String(body)) as { seqNum: number }[]
  const [first, last] = [events[0]!.seqNum, events.at(-1)!.seqNum]
  return new Response('', {
    headers: { 'livestore-accepted': `${first}-${last}`, 'livestore-head': `${last}`, 'livestore-backend-id': id },
  })
}

const headerOf = (storeId: string) =>
  Effect.map(
    Effect.promise(() => world.atUpstream(storeId).messages()),
    ([header]) => (header as { livestore: { backendId: string } }).livestore.backendId,
  )

test('a pull and a push remember the backend of the first contact', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const backend = yield* open({ url: world.network.url }, storeId)
      yield* pullAll(backend)
      expect(yield* remembered).toEqual(Option.none())
      yield* backend.push(eventsFrom(0, 1))
      expect(yield* remembered).toEqual(Option.some(yield* headerOf(storeId)))

      const another = world.newStore()
      yield* Effect.flatMap(openElsewhere({ url: world.network.url }, another), (_) => _.push(eventsFrom(0, 1)))
      const memory = yield* Effect.gen(function* () {
        yield* pullAll(yield* open({ url: world.network.url }, another))
        return yield* remembered
      }).pipe(Effect.provide(KeyValueStore.layerMemory))
      expect(memory).toEqual(Option.some(yield* headerOf(another)))
    }),
  ))

test.each([
  ['a shorter log', 1],
  ['a longer log', 9],
])(
  'after a reset with %s: push, pull and live pull fail with the mismatch',
  (_, count) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open({ url: world.network.url, live: { renewInterval: 500 } }, storeId)
        yield* backend.push(eventsFrom(0, 5))
        const items = yield* pullAll(backend)
        const follower = yield* follow(backend)
        yield* follower.until('the events', () => follower.seqNums().length === 5)
        const expected = yield* headerOf(storeId)

        yield* reset(storeId, count)
        const mismatch = new BackendIdMismatchError({ expected, received: yield* headerOf(storeId) })
        yield* follower.until('the end', () => follower.exit() !== undefined, 45_000)
        expect(follower.exit()).toMatchObject({ cause: { _tag: 'Fail', error: mismatch } })
        expect(follower.seqNums()).toEqual([1, 2, 3, 4, 5])
        expect(yield* Effect.flip(pullAll(backend))).toEqual(mismatch)
        expect(yield* Effect.flip(pullAll(backend, cursorAt(items, 3)))).toEqual(mismatch)
        expect(yield* Effect.flip(backend.push(eventsFrom(5, 1)))).toMatchObject({ _tag: 'BackendIdMismatchError' })
        // LiveStore then clears the remembered id, too. A store that keeps its data would mix both if the new id were written here
        expect(yield* remembered).toEqual(Option.some(expected))
      }),
    ),
  90_000,
)

/** Expects that a live pull waits and does not end while the log is not the store's. */
const waits = ({ told }: Badge, follower: Follower, backend: Backend) =>
  Effect.gen(function* () {
    yield* follower.until('the store is halted', () => told.at(-1)?.kind === 'halted')
    expect([follower.exit(), yield* backend.isConnected.get]).toEqual([undefined, false])
  })

test('a missing log ends no live pull until an administrator resets the store', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const badge = makeBadge()
      const backend = yield* open({ url: world.network.url, live: { renewInterval: 500 }, ...badge.options }, storeId)
      yield* backend.push(eventsFrom(0, 3))
      const follower = yield* follow(backend)
      yield* follower.until('the events', () => follower.seqNums().length === 3)
      yield* Effect.promise(() => world.atUpstream(storeId).remove())
      yield* waits(badge, follower, backend)
      expect(yield* Effect.flip(backend.push(eventsFrom(3, 1)))).toMatchObject({ _tag: 'IsOfflineError' })
      yield* Effect.promise(() => world.atWorker(storeId).request('DELETE'))
      yield* follower.until('the end', () => follower.exit() !== undefined)
      expect(follower.exit()).toMatchObject({ cause: { error: { _tag: 'BackendIdMismatchError' } } })
      expect(badge.told.at(-1)).toMatchObject({ kind: 'backend-mismatch' })
    }),
  ))

test('a live pull does not believe another log until an administrator adopts it', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const badge = makeBadge()
      const backend = yield* open({ url: world.network.url, ...badge.options }, storeId)
      yield* backend.push(eventsFrom(0, 5))
      const follower = yield* follow(backend)
      yield* follower.until('the events', () => follower.seqNums().length === 5)
      yield* Effect.promise(() => world.atUpstream(storeId).remove())
      const begun = [headerMessage('another'), ...eventsFrom(0, 1, {}, 'other')]
      const headers = { 'content-type': 'application/json' }
      yield* Effect.promise(() =>
        fetch(`${world.upstream.url}/default/${storeId}`, { method: 'PUT', headers, body: JSON.stringify(begun) }),
      )
      // A push makes the Sequencer look at the log
      yield* eventually(
        'the store is halted',
        () => badge.told.at(-1)?.kind === 'halted',
        () => badge.told,
      ).pipe(
        Effect.raceFirst(
          Effect.forever(Effect.zipRight(Effect.ignore(backend.push(eventsFrom(5, 1))), Effect.sleep(100))),
        ),
      )
      expect(follower.exit()).toBeUndefined()
      const adopted = yield* Effect.promise(() =>
        fetch(`${world.worker.url}/v1/adopt/default/${storeId}`, { method: 'POST' }),
      )
      expect(adopted.status).toBe(200)
      world.network.setOnline(false)
      world.network.setOnline(true)
      yield* follower.until('the end', () => follower.exit() !== undefined)
      expect(follower.exit()).toMatchObject({
        cause: { error: { _tag: 'BackendIdMismatchError', received: 'another' } },
      })
      expect(follower.seqNums()).toEqual([1, 2, 3, 4, 5])
    }),
  ))

test('an id that the server does not confirm is no mismatch: the client asks again', () =>
  run(
    Effect.gen(function* () {
      const network = makeNetwork()
      const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
      yield* backend.push(eventsFrom(0, 3))
      // An edge that still, or already, has another backend's id
      let stale = 2
      network.intercept((ask, next) =>
        ask.method !== 'GET' || ask.live !== null || stale-- <= 0
          ? undefined
          : next().then((response) => {
              const headers = new Headers(response.headers)
              headers.set('livestore-backend-id', 'another')
              return new Response(response.body, { headers })
            }),
      )
      const follower = yield* follow(backend)
      yield* follower.until('the events', () => follower.seqNums().length === 3)
      expect(network.count((_) => _.method === 'HEAD')).toBe(2)
    }),
  ))

test('an id with a quote reaches LiveStore’s SQL escaped, and comes back unchanged', () =>
  run(
    Effect.gen(function* () {
      const network = makeNetwork()
      const id = "path:default/o'clock%27"
      network.intercept((ask) => (ask.method === 'POST' ? Promise.resolve(acknowledge(ask.init?.body, id)) : undefined))
      const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
      yield* backend.push(eventsFrom(0, 1))
      expect(Option.getOrThrow(yield* remembered)).not.toContain("'")
      const restarted = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
      yield* restarted.push(eventsFrom(1, 1))
      expect(new Headers(network.asked.at(-1)?.init?.headers).get('livestore-backend-id')).toBe(id)
    }),
  ))

test('the first contact bypasses the HTTP cache, and later reads do not', () =>
  run(
    Effect.gen(function* () {
      const network = makeNetwork()
      const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
      yield* Effect.flatMap(openElsewhere({ url: world.network.url }, world.newStore()), () => pullAll(backend))
      yield* backend.push(eventsFrom(0, 1))
      yield* pullAll(backend)
      const reads = network.asked.filter((_) => _.method === 'GET')
      expect(reads.map((_) => _.init?.cache)).toEqual(['no-store', undefined])
    }),
  ))

test('a Worker that is older than the address of an incarnation is read at the store’s own URL', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const asked: string[] = []
      const older: typeof fetch = (input, init) => {
        asked.push(String(input))
        return fetch(String(input).replace('/v1/incarnation/', '/v1/nowhere/'), init)
      }
      const backend = yield* open({ url: world.worker.url, fetch: older }, storeId)
      yield* backend.push(eventsFrom(0, 3))
      expect(seqNums(yield* pullAll(backend))).toEqual([1, 2, 3])
      const follower = yield* follow(backend)
      yield* follower.until('event 3', () => follower.seqNums().includes(3))
      const other = yield* openElsewhere({ url: world.worker.url }, storeId)
      yield* other.push(eventsFrom(3, 2))
      yield* follower.until('event 5', () => follower.seqNums().includes(5))
      expect(follower.seqNums()).toEqual([1, 2, 3, 4, 5])
      expect(asked.some((url) => url.includes('/v1/incarnation/'))).toBe(true)
    }),
  ))
