// The guarantees of all three modes, also between clients of different modes on one store.
import { BackendIdMismatchError, ServerAheadError, SyncBackend } from '@livestore/common'
import { Effect } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SyncBackendOptions } from '../../client/src/index.ts'
import { cursorAt, eventually, follow, open, openElsewhere, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork } from '../support/network.ts'
import { makeBadge } from '../support/problems.ts'
import { type Mode, modes, startWorld, type World } from '../support/world.ts'
import { checkLog, makeWriter } from './support/writer.ts'

/** Few events already make several pages of history. */
const SEGMENT_EVENTS = 10

let world: World
beforeAll(async () => {
  world = await startWorld({ vars: { SEGMENT_EVENTS: String(SEGMENT_EVENTS) } })
})
afterAll(() => world?.stop())

const bare = modes.filter((_) => _ !== 'proxy')
const options = (mode: Mode) => ({ ...world.access(mode), live: { renewInterval: 500 } })

describe('many writers on one store make one chain with each event once', () => {
  test.each<[string, Mode[]]>([
    ['proxy', ['proxy', 'proxy', 'proxy']],
    ['hybrid', ['hybrid', 'hybrid', 'hybrid']],
    ['direct', ['direct', 'direct', 'direct']],
    ['different modes', ['proxy', 'hybrid', 'direct', 'direct']],
  ])(
    '%s',
    (_, each) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const writers = yield* Effect.forEach(each, (mode, i) =>
            Effect.flatMap(openElsewhere(world.access(mode), storeId), (backend) => makeWriter(backend, `${mode}${i}`)),
          )
          yield* Effect.forEach(writers, (writer, i) => writer.write(18, i + 1), { concurrency: 'unbounded' })
          yield* checkLog(world.atUpstream(storeId), writers)
          yield* eventually('everyone has everything', () =>
            writers.every((_) => _.pulled().length === 18 * each.length),
          )
          expect(new Set(writers.map((_) => _.pulled().join(' '))).size).toBe(1)
        }),
      ),
    60_000,
  )
})

describe.each(modes)('%s', (mode) => {
  test('a store without a stream is empty, and a live pull brings its first event', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        // A renewal finds the first append of a direct writer.
        const backend = yield* openElsewhere(options(mode), storeId)
        expect(yield* pullAll(backend)).toEqual([SyncBackend.pullResItemEmpty()])
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        expect(follower.items).toEqual([SyncBackend.pullResItemEmpty()])
        yield* Effect.flatMap(openElsewhere(world.access('direct'), storeId), (_) => _.push(eventsFrom(0, 2)))
        yield* follower.until('its events', () => follower.seqNums().length === 2)
        expect(yield* backend.isConnected.get).toBe(true)
      }),
    ))

  test('a pull reports the remaining events only if it knows them', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open({ ...world.access(mode), pull: { maxItemEvents: 4 } }, storeId)
        yield* backend.push(eventsFrom(0, SEGMENT_EVENTS - 1)) // no segment is sealed
        const infos = (yield* pullAll(backend)).map((_) => _.pageInfo._tag)
        const more = mode === 'proxy' ? 'MoreKnown' : 'MoreUnknown'
        expect([backend.supports, infos]).toEqual([
          { pullPageInfoKnown: mode === 'proxy', pullLive: true },
          [more, more, 'NoMore'],
        ])
      }),
    ))

  test('a push behind the head fails with its numbers, and makes the live pull catch up', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* openElsewhere(world.access(mode), storeId)
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        const other = yield* openElsewhere(world.access('direct'), storeId)
        yield* other.push(eventsFrom(0, 5, {}, 'other'))
        const error = yield* Effect.flip(backend.push(eventsFrom(2, 1)))
        expect(error).toEqual(new ServerAheadError({ minimumExpectedNum: 6 as never, providedNum: 3 as never }))
        yield* follower.until('what it missed', () => follower.seqNums().length === 5)
      }),
    ))

  test('a push beyond the head, or of no chain, fails and says so', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open(world.access(mode), world.newStore())
        yield* backend.push(eventsFrom(0, 5))
        const [gap, broken] = [
          yield* Effect.flip(backend.push(eventsFrom(9, 1))),
          yield* Effect.flip(backend.push([...eventsFrom(5, 1), ...eventsFrom(8, 1)])),
        ]
        expect([gap._tag, broken._tag]).toEqual(['UnknownError', 'UnknownError'])
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 5))
      }),
    ))

  test('names of every kind lead to the same store in each mode', () =>
    run(
      Effect.gen(function* () {
        for (const name of ['a/b', '%2f', '🙂 x', 'notes.js', '~h', 'x'.repeat(300)]) {
          const storeId = `${name}-${world.newStore()}`
          const backend = yield* openElsewhere({ ...world.access(mode), tenant: 'ten/ant' }, storeId)
          yield* backend.push(eventsFrom(0, 2))
          const seen = yield* Effect.flatMap(
            openElsewhere({ ...world.access('proxy'), tenant: 'ten/ant' }, storeId),
            (_) => pullAll(_),
          )
          expect(seqNums(seen)).toEqual([1, 2])
        }
      }),
    ))
})

describe.each(bare)('%s: a recreated stream', (mode) => {
  const atWorker = (route: 'stream' | 'adopt', storeId: string, method: string) =>
    Effect.promise(() => fetch(`${world.worker.url}/v1/${route}/default/${storeId}`, { method }))

  /** In hybrid mode an administrator must have told the Worker that the change is intended. */
  const recreate = (storeId: string, events: number) =>
    Effect.gen(function* () {
      yield* Effect.promise(() => world.atUpstream(storeId).remove())
      yield* Effect.flatMap(openElsewhere(world.access('direct'), storeId), (_) =>
        _.push(eventsFrom(0, events, {}, 'x'.repeat(50))),
      )
      if (mode === 'hybrid') expect((yield* atWorker('adopt', storeId, 'POST')).status).toBe(200)
    })

  test.each([
    ['shorter', 1],
    ['longer', 9],
  ])('%s: the live pull notices within one renewal, and applies nothing of it', (_, count) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(options(mode), storeId)
        yield* backend.push(eventsFrom(0, 5))
        const items = yield* pullAll(backend)
        const follower = yield* follow(backend)
        yield* follower.until('the events', () => follower.seqNums().length === 5)
        yield* recreate(storeId, count)
        // The renewal (at most 500 ms), two reads of the log, and time for a busy machine
        yield* follower.until('the end', () => follower.exit() !== undefined, 5_000)
        expect(follower.exit()).toMatchObject({ cause: { _tag: 'Fail', error: { _tag: 'BackendIdMismatchError' } } })
        expect(follower.seqNums()).toEqual([1, 2, 3, 4, 5])
        expect(yield* Effect.flip(pullAll(backend, cursorAt(items, 5)))).toBeInstanceOf(BackendIdMismatchError)
        expect(yield* Effect.flip(backend.push(eventsFrom(5, 1)))).toBeInstanceOf(BackendIdMismatchError)
      }),
    ),
  )

  test('recreated only after a while: a client with events of the old one creates no stream, and does not end', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const badge = makeBadge()
        const backend = yield* open({ ...options(mode), ...badge.options }, storeId)
        yield* backend.push(eventsFrom(0, 5))
        const follower = yield* follow(backend)
        yield* follower.until('the events', () => follower.seqNums().length === 5)
        yield* Effect.promise(() => world.atUpstream(storeId).remove())
        yield* follower.until('it tells', () => ['log-missing', 'halted'].includes(badge.told.at(-1)?.kind ?? ''))
        expect([follower.exit(), yield* backend.isConnected.get]).toEqual([undefined, false])
        expect(yield* Effect.flip(backend.push(eventsFrom(5, 1)))).toMatchObject({ _tag: 'IsOfflineError' })
        expect((yield* Effect.promise(() => fetch(`${world.upstream.url}/default/${storeId}`))).status).toBe(404)
      }),
    ))
})

describe('the recipients of requests and tokens', () => {
  const tokens = (network: ReturnType<typeof makeNetwork>, url: string) =>
    new Set(
      network.asked
        .filter((_) => url.startsWith(_.url.origin))
        .map((_) => new Headers(_.init?.headers).get('authorization')),
    )

  test.each(bare)('%s: the Worker’s token goes to the Worker, the upstream’s to the upstream', (mode) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const access = world.access(mode)
        const upstream = { url: world.bypass.url, headers: async () => ({ authorization: 'for the upstream' }) }
        const backend = yield* open(
          { ...access, upstream, fetch: network.fetch } as SyncBackendOptions,
          world.newStore(),
          { authToken: 'app' },
        )
        yield* backend.connect
        yield* backend.push(eventsFrom(0, 1))
        const cursor = cursorAt(yield* pullAll(backend), 1)
        yield* follow(backend, cursor)
        yield* eventually('live', () => network.count((_) => _.live !== null) > 0)
        expect(tokens(network, world.bypass.url)).toEqual(new Set(['for the upstream']))
        expect(tokens(network, world.network.url)).toEqual(new Set(mode === 'hybrid' ? ['Bearer app'] : []))
      }),
    ),
  )

  test('hybrid reads from the upstream and writes to the Worker; direct does not contact the Worker', () =>
    run(
      Effect.gen(function* () {
        for (const mode of bare) {
          const network = makeNetwork()
          const backend = yield* openElsewhere({ ...world.access(mode), fetch: network.fetch }, world.newStore())
          yield* backend.push(eventsFrom(0, 1))
          yield* pullAll(backend)
          const at = (method: string) =>
            new Set(network.asked.filter((_) => _.method === method).map((_) => _.url.origin))
          expect(at('GET')).toEqual(new Set([new URL(world.bypass.url).origin]))
          expect(at('POST')).toEqual(
            new Set([new URL(mode === 'hybrid' ? world.network.url : world.bypass.url).origin]),
          )
        }
      }),
    ))

  test('hybrid goes on reading while the Worker is down', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* openElsewhere(options('hybrid'), storeId)
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        world.network.setOnline(false)
        const other = yield* openElsewhere(world.access('direct'), storeId)
        for (const head of [0, 1, 2]) {
          yield* other.push(eventsFrom(head, 1))
          yield* follower.until('the event', () => follower.seqNums().length === head + 1)
          yield* Effect.sleep(300) // a renewal may come between: it asks the Worker first
        }
        world.network.setOnline(true)
        expect(yield* backend.isConnected.get).toBe(true)
      }),
    ))
})

describe('the Sequencer after direct writers', () => {
  test('accepts a push onto an event that it has not seen', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const proxy = yield* openElsewhere(world.access('proxy'), storeId)
        const direct = yield* openElsewhere(world.access('direct'), storeId)
        yield* proxy.push(eventsFrom(0, 3)) // it is warm, its head 3
        yield* direct.push(eventsFrom(3, 3))
        yield* proxy.push(eventsFrom(6, 2))
        yield* direct.push(eventsFrom(8, 1))
        expect(seqNums(yield* pullAll(proxy))).toEqual(numbers(1, 9))
      }),
    ))

  test('refuses a push onto its stale head, with the numbers of the log', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const proxy = yield* openElsewhere(world.access('proxy'), storeId)
        yield* proxy.push(eventsFrom(0, 3))
        yield* Effect.flatMap(openElsewhere(world.access('direct'), storeId), (_) => _.push(eventsFrom(3, 3)))
        const error = yield* Effect.flip(proxy.push(eventsFrom(3, 1, {}, 'late')))
        expect(error).toEqual(new ServerAheadError({ minimumExpectedNum: 7 as never, providedNum: 4 as never }))
        yield* proxy.push(eventsFrom(6, 1))
      }),
    ))
})
