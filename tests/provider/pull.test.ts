// Reading: pages, metadata, page info, the chain check, and the failures of a pull that is not live.
import { SyncBackend, UnknownError } from '@livestore/common'
import { Effect, Exit, Option, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cursorAt, follow, open, openElsewhere, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork, mangle, refusal } from '../support/network.ts'
import { makeBadge } from '../support/problems.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

const failureOf = (exit: Exit.Exit<unknown, unknown> | undefined) =>
  exit !== undefined && Exit.isFailure(exit) && exit.cause._tag === 'Fail' ? exit.cause.error : exit

describe('sync metadata resumes without loss, also in the middle of a page', () => {
  test('from every event of a page, also for a fresh client', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const options = { url: world.network.url, pull: { maxItemEvents: 4 } }
        const backend = yield* open(options, storeId)
        yield* backend.push(eventsFrom(0, 10))
        yield* backend.push(eventsFrom(10, 5))
        const items = yield* pullAll(backend)
        expect(seqNums(items)).toEqual(numbers(1, 15))
        for (const seqNum of numbers(1, 14)) {
          // LiveStore keeps the metadata as JSON (eventlog-tables.ts)
          const cursor = cursorAt(JSON.parse(JSON.stringify(items), reviveOption), seqNum)
          const elsewhere = yield* openElsewhere(options, storeId)
          expect(seqNums(yield* pullAll(elsewhere, cursor))).toEqual(numbers(seqNum + 1, 15))
        }
        expect(yield* pullAll(backend, cursorAt(items, 15))).toEqual([SyncBackend.pullResItemEmpty()])
      }),
    ))

  test('from the last event of a page, without reading anything twice', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 10))
        const items = yield* pullAll(backend)
        const metadata = items.flatMap((_) => _.batch).map((_) => Option.getOrThrow(_.metadata).offset)
        expect(new Set(metadata.slice(0, -1))).toEqual(new Set(['-1']))
        yield* pullAll(backend, cursorAt(items, 10))
        expect(network.asked.at(-1)?.url.searchParams.get('offset')).toBe(metadata.at(-1))
      }),
    ))

  test('a cursor without metadata: the pull reads from the start and drops known events', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        yield* backend.push(eventsFrom(0, 10))
        const cursor = Option.some({ eventSequenceNumber: 7, metadata: Option.none() }) as Parameters<typeof pullAll>[1]
        expect(seqNums(yield* pullAll(backend, cursor))).toEqual([8, 9, 10])
      }),
    ))

  test('an offset that the upstream refuses: the pull reads from the start', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        yield* backend.push(eventsFrom(0, 10))
        const cursor = Option.some({ eventSequenceNumber: 7, metadata: Option.some({ offset: 'no such thing!' }) })
        expect(seqNums(yield* pullAll(backend, cursor as Parameters<typeof pullAll>[1]))).toEqual([8, 9, 10])
      }),
    ))
})

describe('page info', () => {
  test('remaining counts down to NoMore', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url, pull: { maxItemEvents: 4 } }, world.newStore())
        yield* backend.push(eventsFrom(0, 10))
        const infos = (items: readonly { pageInfo: unknown }[]) => items.map((_) => _.pageInfo)
        const expected = [{ _tag: 'MoreKnown', remaining: 6 }, { _tag: 'MoreKnown', remaining: 2 }, { _tag: 'NoMore' }]
        expect(infos(yield* pullAll(backend))).toEqual(expected)
        const follower = yield* follow(backend)
        yield* follower.until('all', () => follower.seqNums().length === 10)
        expect(infos(follower.items)).toEqual(expected)
      }),
    ))

  test('a page that is not up to date: the pull reads the next one, then says NoMore', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 10))
        // Pages as the Worker cuts them
        let first = true
        network.intercept((ask, next) =>
          ask.method !== 'GET' || !first
            ? undefined
            : next().then((response) => {
                first = false
                const headers = new Headers(response.headers)
                headers.delete('stream-up-to-date')
                return new Response(response.body, { headers })
              }),
        )
        const items = yield* pullAll(backend)
        expect(items.map((_) => [_.batch.length, _.pageInfo._tag])).toEqual([
          [10, 'MoreUnknown'],
          [0, 'NoMore'],
        ])
      }),
    ))
})

describe('a break of the chain is never applied', () => {
  test('of the log itself: the pull fails and says where', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const badge = makeBadge()
        // A renewal finds the first append of a direct writer.
        const live = { renewInterval: 1_000 }
        const backend = yield* open({ url: world.network.url, live, ...badge.options }, storeId)
        yield* backend.push(eventsFrom(0, 3))
        const follower = yield* follow(backend)
        yield* follower.until('the events', () => follower.seqNums().length === 3)
        yield* Effect.promise(() => world.atUpstream(storeId).append(eventsFrom(7, 2)))
        yield* follower.until('the end', () => follower.exit() !== undefined)
        expect(follower.seqNums()).toEqual([1, 2, 3])
        const error = failureOf(follower.exit())
        expect(error).toBeInstanceOf(UnknownError)
        expect((error as UnknownError).note).toMatch(
          /broken after offset \S+: expected an event whose parentSeqNum is 3, found seqNum 8 with parentSeqNum 7/,
        )
        const plain = yield* Effect.exit(pullAll(backend))
        expect(failureOf(plain)).toBeInstanceOf(UnknownError)
        // The pull has ended, so no ping may make isConnected true
        yield* Effect.exit(backend.ping)
        expect([yield* backend.isConnected.get, badge.told.at(-1)?.kind]).toEqual([false, 'log-broken'])
      }),
    ))

  test('of a delivery: the pull reads once more, and goes on', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 3))
        const follower = yield* follow(backend)
        yield* follower.until(
          'live',
          () => network.count((_) => _.live === 'sse') === 1 && follower.seqNums().length === 3,
        )
        const undo = network.intercept((ask, next) =>
          ask.live === 'sse' ? mangle(next, (text) => text.replace('"seqNum":4', '"seqNum":5')) : undefined,
        )
        // A new session, whose live pull meets the fault
        world.network.setOnline(false)
        world.network.setOnline(true)
        yield* follower.until('live again', () => network.count((_) => _.live === 'sse') >= 2)
        yield* backend.push([...eventsFrom(3, 2)])
        yield* follower.until('the events', () => follower.seqNums().length === 5)
        undo()
        expect(follower.seqNums()).toEqual([1, 2, 3, 4, 5])
        expect(follower.exit()).toBeUndefined()
      }),
    ))
})

// A Worker on another machine, or a cache, may answer with an end of the log that is long past
test.each(['the live read', 'the catch-up'])(
  'an older end of the log in the place of %s moves no device back',
  (which) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const storeId = world.newStore()
        const writer = yield* open({ url: world.network.url }, storeId)
        yield* writer.push(eventsFrom(0, 3))
        let older: Headers | undefined
        network.intercept((ask, next) => {
          if (ask.method !== 'GET' || older !== undefined) return undefined
          return next().then((response) => {
            older = response.headers
            return response
          })
        })
        const live = { mode: 'long-poll' as const, renewInterval: 1_000 }
        const backend = yield* openElsewhere({ url: world.network.url, fetch: network.fetch, live }, storeId)
        const follower = yield* follow(backend)
        yield* follower.until('the first events', () => follower.seqNums().length === 3)
        yield* writer.push(eventsFrom(3, 7))
        yield* follower.until('more events', () => follower.seqNums().length === 10)
        let told = 0
        network.intercept((ask) => {
          const isIt = which === 'the live read' ? ask.live !== null : ask.live === null
          if (ask.method !== 'GET' || !isIt || told > 0) return undefined
          told += 1
          return Promise.resolve(new Response('[]', { headers: older ?? {} }))
        })
        yield* follower.until('the older end', () => told === 1)
        yield* writer.push(eventsFrom(10, 2))
        yield* follower.until('the rest', () => follower.seqNums().length === 12)
        expect(follower.seqNums()).toEqual(numbers(1, 12))
        expect(follower.exit()).toBeUndefined()
      }),
    ),
)

describe('a pull that is not live', () => {
  test('tries again before it fails', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        yield* backend.push(eventsFrom(0, 3))
        world.network.next({ method: 'GET' }, 'drop response')
        world.network.next({ method: 'GET' }, { status: 503, headers: { 'retry-after': '0' } })
        expect(seqNums(yield* pullAll(backend))).toEqual([1, 2, 3])
      }),
    ))

  test('fails offline with IsOfflineError, and slows a caller down that restarts it at once', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        network.intercept(() => Promise.reject(new TypeError('fetch failed')))
        const started = Date.now()
        for (let i = 0; i < 5; i++) {
          expect(failureOf(yield* Effect.exit(pullAll(backend)))).toMatchObject({ _tag: 'IsOfflineError' })
        }
        // 3 tries, then one a pull, each after a longer wait: 50 + 100, 200, 400, 800, 1600 ms at least, halved by jitter
        expect(network.asked.length).toBe(7)
        expect(Date.now() - started).toBeGreaterThan(1_500)
        expect(yield* backend.isConnected.get).toBe(false)
      }),
    ))

  test('fails as offline after pages that lead nowhere', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        network.intercept((ask) => {
          const headers = {
            'content-type': 'application/json',
            'stream-next-offset': ask.url.searchParams.get('offset')!,
          }
          return Promise.resolve(new Response('[]', { headers }))
        })
        expect(failureOf(yield* Effect.exit(pullAll(backend)))).toMatchObject({ _tag: 'IsOfflineError' })
        expect(network.asked.length).toBe(3)
      }),
    ))

  test.each([
    [400, { title: 'Bad Request', detail: 'no such offset' }],
    [401, { title: 'Unauthorized', detail: 'no token' }],
    [403, { title: 'Forbidden', detail: 'not your tenant' }],
    [404, { title: 'Not Found', detail: 'no such route' }],
  ])('fails at %i at once with UnknownError and the problem’s detail', (status, problem) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        network.intercept(() => refusal(status, 'a-kind', problem))
        const error = failureOf(yield* Effect.exit(pullAll(backend))) as UnknownError
        expect(error).toBeInstanceOf(UnknownError)
        expect(error.note).toContain(problem.detail)
        expect(error.payload).toMatchObject({ status, ...problem })
        expect(network.asked.length).toBe(1)
      }),
    ),
  )

  test('does not fail with UnknownError at a captive portal’s page', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        network.intercept(() =>
          Promise.resolve(new Response('<html>log in', { headers: { 'content-type': 'text/html' } })),
        )
        expect(failureOf(yield* Effect.exit(pullAll(backend)))).toMatchObject({ _tag: 'IsOfflineError' })
      }),
    ))
})

test('a pull of which only the first item is taken leaves no request open', () =>
  run(
    Effect.gen(function* () {
      const network = makeNetwork()
      const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
      yield* backend.push(eventsFrom(0, 3))
      yield* backend.pull(Option.none(), { live: true }).pipe(Stream.runHead)
      expect(network.inFlight()).toBe(0)
    }),
  ))

/** Turns the JSON of an Option into an Option. */
function reviveOption(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('_id' in value) || value._id !== 'Option') return value
  return 'value' in value ? Option.some(value.value) : Option.none()
}
