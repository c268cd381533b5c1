// The live pull follows the log, survives the faults of a network, and reports the connection truthfully.
import { SyncBackend } from '@livestore/common'
import { Effect, Option, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { headerBody } from '../../client/src/protocol/index.js'
import { type Backend, eventually, follow, open, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { isLive, makeNetwork, mangle, silent } from '../support/network.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

/** Every value of isConnected from now on. */
const watchConnection = (backend: Backend) =>
  Effect.gen(function* () {
    const seen: boolean[] = []
    yield* backend.isConnected.changes.pipe(
      Stream.runForEach((_) => Effect.sync(() => seen.push(_))),
      Effect.forkScoped,
    )
    yield* eventually('watching', () => seen.length > 0)
    return seen
  })

describe.each(['sse', 'long-poll'] as const)('by %s', (mode) => {
  test('a live pull catches up, says NoMore, then brings every event once as it happens', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, live: { mode } }, world.newStore())
        yield* backend.push(eventsFrom(0, 3))
        const follower = yield* follow(backend)
        yield* follower.until('the catch-up', () => follower.items.length > 0)
        expect(follower.items.map((_) => _.pageInfo._tag)).toEqual(['NoMore'])
        yield* eventually('live', () => network.count(isLive) > 0)
        for (let n = 3; n < 30; n++) yield* backend.push(eventsFrom(n, 1))
        yield* follower.until('the events', () => follower.seqNums().length === 30)
        expect(follower.seqNums()).toEqual(numbers(1, 30))
        expect(follower.items.every((_) => _.pageInfo._tag === 'NoMore')).toBe(true)
        expect(new Set(network.asked.filter(isLive).map((_) => _.live))).toEqual(new Set([mode]))
      }),
    ))

  test('a live pull resumes from a live event’s metadata', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url, live: { mode } }, world.newStore())
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        for (let n = 0; n < 6; n += 2) yield* backend.push(eventsFrom(n, 2))
        yield* follower.until('the events', () => follower.seqNums().length === 6)
        for (const { eventEncoded, metadata } of follower.items.flatMap((_) => _.batch)) {
          const cursor = Option.some({ eventSequenceNumber: eventEncoded.seqNum, metadata })
          const rest = yield* backend.pull(cursor).pipe(Stream.runCollect)
          expect(seqNums([...rest])).toEqual(numbers(eventEncoded.seqNum + 1, 6))
        }
      }),
    ))

  test('a connection that dies silently is replaced', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const options = { url: world.network.url, fetch: network.fetch, live: { mode, stallTimeout: 300 } }
        const backend = yield* open(options, world.newStore())
        const undo = network.intercept((ask) => (isLive(ask) ? silent(ask) : undefined))
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        yield* backend.push(eventsFrom(0, 3))
        yield* follower.until('the events', () => follower.seqNums().length === 3)
        undo()
        expect(follower.exit()).toBeUndefined()
      }),
    ))

  test('a catch-up renews a connection in time, though the server never ends it and it is not silent', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const options = { url: world.network.url, fetch: network.fetch, live: { mode, renewInterval: 500 } }
        const backend = yield* open(options, world.newStore())
        const connection = yield* watchConnection(backend)
        yield* follow(backend)
        yield* eventually('three sessions', () => network.count((_) => _.method === 'GET' && _.live === null) >= 3)
        expect(connection).toEqual([false, true])
      }),
    ))
})

describe('lost connections', () => {
  test('the network goes and comes: the pull keeps its offset, brings every event once, and reports the connection', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url, ping: { enabled: false } }, world.newStore())
        const connection = yield* watchConnection(backend)
        const follower = yield* follow(backend)
        for (let round = 0; round < 4; round++) {
          yield* eventually('connected', () => connection.at(-1) === true)
          yield* backend.push(eventsFrom(round * 5, 5))
          yield* follower.until('the events', () => follower.seqNums().length === (round + 1) * 5)
          world.network.setOnline(false)
          yield* eventually('not connected', () => connection.at(-1) === false)
          world.network.setOnline(true)
        }
        expect(follower.seqNums()).toEqual(numbers(1, 20))
        expect(connection.slice(0, 8)).toEqual([false, true, false, true, false, true, false, true])
      }),
    ))

  test(
    'the Worker restarts: the pull goes on',
    () =>
      run(
        Effect.gen(function* () {
          const backend = yield* open({ url: world.network.url }, world.newStore())
          const follower = yield* follow(backend)
          yield* backend.push(eventsFrom(0, 2))
          yield* follower.until('the events', () => follower.seqNums().length === 2)
          yield* Effect.promise(() => world.worker.restart())
          yield* backend.push(eventsFrom(2, 2)).pipe(Effect.retry({ times: 20 }))
          yield* follower.until('the events', () => follower.seqNums().length === 4)
          expect(follower.exit()).toBeUndefined()
        }),
      ),
    60_000,
  )

  test('a pull that starts without a network waits for it', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        world.network.setOnline(false)
        const backend = yield* open({ url: world.network.url }, storeId)
        const follower = yield* follow(backend)
        yield* Effect.sleep(500)
        expect(follower.items).toEqual([])
        expect(follower.exit()).toBeUndefined()
        world.network.setOnline(true)
        yield* follower.until('the first item', () => follower.items.length > 0)
        expect(follower.items).toEqual([SyncBackend.pullResItemEmpty()])
      }),
    ))

  test.each([429, 500, 502, 503, 504, 522])('answers of %i: the pull tries again, with growing pauses', (status) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 1))
        const times: number[] = []
        const undo = network.intercept((ask) => {
          if (ask.method !== 'GET') return undefined
          times.push(Date.now())
          return Promise.resolve(new Response('', { status }))
        })
        const follower = yield* follow(backend)
        yield* eventually('five tries', () => times.length >= 5)
        undo()
        yield* follower.until('the event', () => follower.seqNums().length === 1)
        expect(times[4]! - times[3]!).toBeGreaterThanOrEqual(390) // half of 800 ms
        expect(follower.exit()).toBeUndefined()
      }),
    ),
  )

  test('Retry-After: the pull waits so long', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        const times: number[] = []
        const undo = network.intercept((ask) => {
          if (ask.method !== 'GET' || times.push(Date.now()) > 1) return undefined
          return Promise.resolve(new Response('', { status: 503, headers: { 'retry-after': '1' } }))
        })
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        undo()
        expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(990)
      }),
    ))

  test('a torn delivery: the pull reads it again', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        // The first live read ends inside an event, before any offset
        let torn = false
        network.intercept((ask, next) =>
          ask.live !== 'sse' || torn
            ? undefined
            : mangle(next, (text) => {
                const at = text.indexOf('"seqNum":2')
                if (at < 0) return text
                torn = true
                return { last: text.slice(0, at) }
              }),
        )
        const follower = yield* follow(backend)
        yield* eventually('live', () => network.count(isLive) > 0)
        yield* backend.push(eventsFrom(0, 3))
        yield* follower.until('the events', () => follower.seqNums().length === 3)
        expect(torn).toBe(true)
        expect(follower.seqNums()).toEqual([1, 2, 3])
      }),
    ))

  test('every SSE connection is cut at once: the pull falls back to long-poll', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        network.intercept((ask) =>
          ask.live === 'sse'
            ? Promise.resolve(new Response('', { headers: { 'content-type': 'text/event-stream' } }))
            : undefined,
        )
        const follower = yield* follow(backend)
        yield* eventually('long-poll', () => network.count((_) => _.live === 'long-poll') > 0)
        expect(network.count((_) => _.live === 'sse')).toBe(3)
        yield* backend.push(eventsFrom(0, 1))
        yield* follower.until('the event', () => follower.seqNums().length === 1)
      }),
    ))
})

test('a live connection that brought nothing usable is closed, because a browser has only six', () =>
  run(
    Effect.gen(function* () {
      const network = makeNetwork()
      const backend = yield* open(
        { url: world.network.url, fetch: network.fetch, retry: { maxDelay: 50 }, live: { reconnectSpread: 0 } },
        world.newStore(),
      )
      yield* backend.push(eventsFrom(0, 2))
      const pieces = ['[{"message":"hi"}]', JSON.stringify(eventsFrom(90, 1)), headerBody('another')]
      let opened = 0
      const undo = network.intercept((ask) => {
        if (ask.live !== 'sse') return undefined
        const body = new ReadableStream<Uint8Array>({
          start: (controller) =>
            controller.enqueue(
              new TextEncoder().encode(
                `event: data\ndata: ${pieces[opened++ % 3]}\n\nevent: control\ndata: {"streamNextOffset":"~","upToDate":true}\n\n`,
              ),
            ),
        })
        return Promise.resolve(
          new Response(body, { headers: { 'content-type': 'text/event-stream', 'livestore-head': '2' } }),
        )
      })
      const follower = yield* follow(backend)
      yield* follower.until('some of them', () => opened >= 3)
      const openNow = () =>
        network.asked.filter(({ live, init }) => live === 'sse' && init?.signal?.aborted !== true).length
      yield* eventually('at most one is open', () => openNow() <= 1)
      undo()
      yield* backend.push(eventsFrom(2, 1))
      yield* follower.until('the events', () => follower.seqNums().length === 3)
      expect(follower.exit()).toBeUndefined()
    }),
  ))

describe('ping', () => {
  test('the provider pings only while no live pull is open', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const pings = () => network.count((_) => _.method === 'HEAD')
        const options = { url: world.network.url, fetch: network.fetch, ping: { requestInterval: 50 } }
        const backend = yield* open(options, world.newStore())
        yield* eventually('pings', () => pings() >= 2)
        expect(yield* backend.isConnected.get).toBe(true)
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        const before = pings()
        yield* Effect.sleep(300)
        expect(pings() - before).toBeLessThanOrEqual(1)
        yield* follower.stop
        yield* eventually('pings again', () => pings() > before + 2)
      }),
    ))

  test('pings notice that the network went, and that it came back', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url, ping: { requestInterval: 50 } }, world.newStore())
        const connection = yield* watchConnection(backend)
        yield* eventually('connected', () => connection.at(-1) === true)
        world.network.setOnline(false)
        yield* eventually('not connected', () => connection.at(-1) === false)
        world.network.setOnline(true)
        yield* eventually('connected', () => connection.at(-1) === true)
      }),
    ))

  test('a failed ping beside a healthy live pull changes nothing', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        network.intercept((ask) => (ask.method === 'HEAD' ? Promise.reject(new TypeError('no')) : undefined))
        expect(yield* Effect.flip(backend.ping)).toMatchObject({ _tag: 'IsOfflineError' })
        expect(yield* backend.isConnected.get).toBe(true)
      }),
    ))

  test('an unanswered ping times out', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        network.intercept(silent)
        const backend = yield* open(
          { url: world.network.url, fetch: network.fetch, ping: { requestTimeout: 100 } },
          world.newStore(),
        )
        expect(yield* Effect.flip(backend.ping)).toMatchObject({ _tag: 'TimeoutException' })
        expect(yield* Effect.flip(backend.connect)).toMatchObject({ _tag: 'IsOfflineError' })
      }),
    ))
})
