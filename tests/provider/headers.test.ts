// The headers of requests, and the outcome of a refusal. The refusing server is a fault here; auth.test.ts has the real one.
import { IsOfflineError, SyncBackend, UnknownError } from '@livestore/common'
import { Effect, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HeadersFunction, SyncBackendOptions } from '../../client/src/index.ts'
import {
  type Backend,
  cursorAt,
  eventually,
  follow,
  type Item,
  open,
  openElsewhere,
  pullAll,
  run,
  seqNums,
} from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { isLive, makeNetwork, type Network, refusal } from '../support/network.ts'
import { makeBadge } from '../support/problems.ts'
import { type Mode, startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

type Ask = Network['asked'][number]
const tokenOf = (ask: Ask) => new Headers(ask.init?.headers).get('authorization')
const sent = (network: Network) => network.asked.map(tokenOf)

const says = (status: number, detail: string) =>
  refusal(status, status === 401 ? 'unauthorized' : 'forbidden', {
    _tag: status === 401 ? 'UnauthorizedError' : 'ForbiddenError',
    title: 'No',
    detail,
  })

/** A server that accepts only some tokens. */
const guard = (network: Network, takes: (token: string | null, ask: Ask) => boolean) =>
  network.intercept((ask) => (takes(tokenOf(ask), ask) ? undefined : says(401, 'the token has expired')))

/** An app's cached token, as an auth library keeps it. */
const tokenCache = () => {
  const asked: boolean[] = []
  let token = 0
  const headers: HeadersFunction = async ({ refused }) => {
    asked.push(refused)
    if (refused) token++
    return { authorization: `token ${token}` }
  }
  return { headers, asked, current: () => `token ${token}` }
}

/** A live pull up to its first item. */
const follows = (backend: Backend) =>
  Effect.scoped(
    Effect.gen(function* () {
      const follower = yield* follow(backend)
      yield* follower.until('an item or an end', () => follower.items.length > 0 || follower.exit() !== undefined)
      yield* follower.exit() ?? Effect.void
    }),
  )

/** Every kind of request of a client. */
const deeds: [string, (backend: Backend) => Effect.Effect<unknown, unknown>][] = [
  ['a push', (backend) => backend.push(eventsFrom(0, 1))],
  ['a pull', (backend) => pullAll(backend)],
  ['a live pull', follows],
  ['connect', (backend) => Effect.scoped(backend.connect)],
  ['a ping', (backend) => backend.ping],
]
/** A live pull waits for another token instead (below). */
const endingDeeds = deeds.filter(([what]) => what !== 'a live pull')
const access = (mode: Mode, headers: SyncBackendOptions['headers']) =>
  (mode === 'proxy'
    ? { url: world.network.url, headers }
    : { mode, upstream: { url: world.bypass.url, headers } }) as SyncBackendOptions

describe('the headers of a request', () => {
  test('payload.authToken becomes a bearer token on every request', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore(), {
          authToken: 'a-token',
        })
        yield* backend.push(eventsFrom(0, 1))
        yield* backend.ping
        yield* follow(backend)
        yield* eventually('live', () => network.count(isLive) > 0)
        expect(new Set(sent(network))).toEqual(new Set(['Bearer a-token']))
      }),
    ))

  test('headers go before payload.authToken, and the provider calls a function for each request', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        let calls = 0
        const headers = async () => ({ Authorization: `Bearer ${++calls}`, 'x-mine': 'yes' })
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, headers }, world.newStore(), {
          authToken: 'no',
        })
        yield* backend.push(eventsFrom(0, 1))
        yield* pullAll(backend)
        expect(sent(network)).toEqual(['Bearer 1', 'Bearer 2'])
        expect(new Headers(network.asked[1]?.init?.headers).get('x-mine')).toBe('yes')
      }),
    ))
})

describe.each(['proxy', 'direct'] as const)('%s: a refused token', (mode) => {
  test.each(deeds)('%s succeeds with a fresh one: the function learns that the last was refused', (_, deed) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { headers, asked } = tokenCache()
        const storeId = world.newStore()
        yield* Effect.flatMap(openElsewhere(access(mode, {}), storeId), follow) // there is a stream
        const backend = yield* openElsewhere(
          { ...access(mode, headers), fetch: network.fetch, ping: { enabled: false } },
          storeId,
        )
        guard(network, (token) => token !== 'token 0')
        yield* deed(backend)
        expect(asked.slice(0, 2)).toEqual([false, true])
        expect(asked.filter(Boolean).length).toBe(1)
        const [first, second] = network.asked
        expect([second!.method, second!.url.href, second!.init?.body]).toEqual([
          first!.method,
          first!.url.href,
          first!.init?.body,
        ])
      }),
    ),
  )

  test.each(endingDeeds)('%s whose fresh one is refused too fails, with the URL and the reason', (_, deed) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { headers, asked } = tokenCache()
        const backend = yield* openElsewhere(
          { ...access(mode, headers), fetch: network.fetch, ping: { enabled: false } },
          world.newStore(),
        )
        guard(network, () => false)
        const error = (yield* Effect.flip(deed(backend))) as UnknownError
        expect(error).toBeInstanceOf(UnknownError)
        expect(error.note).toMatch(
          `HTTP 401 from ${network.asked[0]!.url.origin}${network.asked[0]!.url.pathname}: No: the token has expired (`,
        )
        expect(error.note).toContain('must send a token that this server accepts')
        expect(error.payload).toMatchObject({ status: 401, _tag: 'UnauthorizedError' })
        expect(sent(network)).toEqual(['token 0', 'token 1'])
        expect(asked).toEqual([false, true])
      }),
    ),
  )

  test.each(endingDeeds)('%s without a function fails at once', (_, deed) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* openElsewhere(
          { ...access(mode, { authorization: 'old' }), fetch: network.fetch, ping: { enabled: false } },
          world.newStore(),
        )
        guard(network, () => false)
        expect(yield* Effect.flip(deed(backend))).toMatchObject({
          _tag: 'UnknownError',
          note: expect.stringContaining('has expired'),
        })
        expect(sent(network)).toEqual(['old'])
      }),
    ),
  )

  test.each(endingDeeds)('%s that is answered 403 fails at once', (_, deed) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { headers } = tokenCache()
        const backend = yield* openElsewhere(
          { ...access(mode, headers), fetch: network.fetch, ping: { enabled: false } },
          world.newStore(),
        )
        network.intercept(() => says(403, 'this token is for the tenant other'))
        const error = (yield* Effect.flip(deed(backend))) as UnknownError
        expect(error).toBeInstanceOf(UnknownError)
        expect(error.note).toMatch(/^HTTP 403 from .*: No: this token is for the tenant other \(.*does not allow/)
        expect(sent(network)).toEqual(['token 0'])
      }),
    ),
  )

  test.each([401, 403])(
    'a live pull that is answered %i waits for an accepted token, reports the problem, and goes on by itself',
    (status) =>
      run(
        Effect.gen(function* () {
          const network = makeNetwork()
          const storeId = world.newStore()
          const badge = makeBadge()
          const options = {
            ...access(mode, { authorization: 'token' }),
            fetch: network.fetch,
            retry: { initialDelay: 20 },
            ...badge.options,
          }
          const writer = yield* openElsewhere(access(mode, {}), storeId)
          yield* writer.push(eventsFrom(0, 3))
          const backend = yield* openElsewhere(options, storeId)
          const undo = network.intercept(() => says(status, 'not with this token'))
          const follower = yield* follow(backend)
          yield* follower.until('several tries', () => network.count((_) => _.method === 'GET') >= 4)
          expect([follower.exit(), yield* backend.isConnected.get]).toEqual([undefined, false])
          expect(badge.told).toEqual([
            expect.objectContaining({
              kind: 'refused',
              status,
              detail: expect.stringContaining('not with this token'),
              retryAfterMs: expect.any(Number),
            }),
          ])
          undo()
          yield* follower.until('the events', () => follower.seqNums().length === 3)
          expect(yield* backend.isConnected.get).toBe(true)
          expect(badge.told.slice(1)).toEqual([undefined])
        }),
      ),
  )
})

describe('a token that expires', () => {
  test.each(['sse', 'long-poll'] as const)(
    'again and again during a live pull by %s: every event comes once, and isConnected stays true',
    (live) =>
      run(
        Effect.gen(function* () {
          const network = makeNetwork()
          const cache = tokenCache()
          const options = {
            url: world.network.url,
            fetch: network.fetch,
            headers: cache.headers,
            live: { mode: live, renewInterval: 200 },
          }
          const backend = yield* open(options, world.newStore())
          const uses = new Map<string | null, number>()
          guard(network, (token) => {
            uses.set(token, (uses.get(token) ?? 0) + 1)
            return token === cache.current() && uses.get(token)! <= 3
          })
          const connection: boolean[] = []
          yield* backend.isConnected.changes.pipe(
            Stream.runForEach((_) => Effect.sync(() => connection.push(_))),
            Effect.forkScoped,
          )
          yield* eventually('watching', () => connection.length > 0)
          const follower = yield* follow(backend)
          for (let head = 0; head < 20; head++) {
            yield* backend.push(eventsFrom(head, 1))
            yield* follower.until('the event', () => follower.seqNums().length === head + 1)
          }
          yield* eventually('ten tokens', () => uses.size >= 10)
          expect(follower.seqNums()).toEqual(numbers(1, 20))
          expect(follower.exit()).toBeUndefined()
          expect(connection).toEqual([false, true])
        }),
      ),
  )

  test('while the network is down: a live pull and an ordinary pull go on afterwards', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { headers } = tokenCache()
        const retry = { initialDelay: 5, maxDelay: 20 }
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, headers, retry }, world.newStore())
        yield* backend.push(eventsFrom(0, 2))
        const away = network.intercept(() => Promise.reject(new TypeError('no network')))
        const follower = yield* follow(backend)
        for (let pull = 0; pull < 5; pull++) expect(yield* Effect.flip(pullAll(backend))).toBeInstanceOf(IsOfflineError)
        yield* follower.until('an outage', () => network.count((_) => _.method === 'GET') > 10)
        guard(network, (token) => token !== 'token 0')
        away()
        expect(seqNums(yield* pullAll(backend))).toEqual([1, 2])
        yield* follower.until('the events', () => follower.seqNums().length === 2)
      }),
    ))

  test('during many requests at once is renewed once for all of them', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const { headers, asked } = tokenCache()
        const backend = yield* open(
          { url: world.network.url, fetch: network.fetch, headers, ping: { enabled: false } },
          world.newStore(),
        )
        let waiting = 0
        const all = Promise.withResolvers<void>()
        network.intercept((ask) => {
          if (tokenOf(ask) !== 'token 0') return undefined
          if (++waiting === 20) all.resolve()
          return all.promise.then(() => says(401, 'the token has expired'))
        })
        yield* Effect.all(
          Array.from({ length: 20 }, () => backend.ping),
          { concurrency: 'unbounded' },
        )
        expect(asked.filter(Boolean).length).toBe(1)
        expect(sent(network).slice(20)).toEqual(Array.from({ length: 20 }, () => 'token 1'))
      }),
    ))
})

describe('a headers function that fails', () => {
  const failing: [string, HeadersFunction][] = [
    [
      'throws',
      () => {
        throw new Error('no fresh token')
      },
    ],
    ['rejects', () => Promise.reject(new Error('no fresh token'))],
    ['returns an invalid header', () => ({ authorization: 'no fresh\ntoken' })],
  ]

  test.each(failing)('%s: requests fail as offline, with the reason in the error', (_, headers) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const retry = { initialDelay: 5, maxDelay: 20 }
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, headers, retry }, world.newStore())
        for (const [, deed] of deeds.filter(([what]) => what !== 'a live pull')) {
          const error = (yield* Effect.flip(deed(backend))) as IsOfflineError
          expect(error).toBeInstanceOf(IsOfflineError)
          expect((error.cause as Error).message).toMatch(/^the function for headers failed: \w*Error: .*no fresh/s)
        }
        expect(network.asked).toEqual([])
      }),
    ),
  )

  test('only to renew a token: requests fail as offline, not with 401', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const headers: HeadersFunction = ({ refused }) =>
          refused ? Promise.reject(new Error('the issuer is away')) : { authorization: 'old' }
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, headers }, world.newStore())
        guard(network, () => false)
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toMatchObject({
          _tag: 'IsOfflineError',
          cause: { message: expect.stringContaining('the issuer is away') },
        })
      }),
    ))

  test('a live pull goes on once the function succeeds', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        let issuer: 'away' | 'back' = 'away'
        let failures = 0
        const headers: HeadersFunction = async () => {
          if (issuer === 'back') return { authorization: 'new' }
          failures++
          throw new Error('the issuer is away')
        }
        const retry = { initialDelay: 5, maxDelay: 20 }
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, headers, retry }, world.newStore())
        const follower = yield* follow(backend)
        yield* follower.until('some tries', () => failures > 6)
        expect([follower.exit(), yield* backend.isConnected.get]).toEqual([undefined, false])
        issuer = 'back'
        yield* backend.push(eventsFrom(0, 1))
        yield* follower.until('the event', () => follower.seqNums().length === 1)
      }),
    ))
})

describe.each([
  ['hybrid', 401],
  ['hybrid', 403],
  ['direct', 401],
  ['direct', 403],
] as const)('%s: a client that may only read (%i)', (mode, status) => {
  const retry = { initialDelay: 20, maxDelay: 100 }
  const forbidsToMake = (network: Network) =>
    network.intercept((ask) => (ask.method === 'PUT' ? says(status, 'this token may only read') : undefined))

  test('waits for a stream that others create, connected and with nothing to come', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const network = makeNetwork()
        forbidsToMake(network)
        const backend = yield* openElsewhere({ ...world.access(mode), fetch: network.fetch, retry }, storeId)
        expect(yield* pullAll(backend)).toEqual([SyncBackend.pullResItemEmpty()])
        const follower = yield* follow(backend)
        yield* follower.until('several looks', () => network.count((_) => _.method === 'PUT') > 3)
        expect([follower.items, follower.exit()]).toEqual([[SyncBackend.pullResItemEmpty()], undefined])
        expect(yield* backend.isConnected.get).toBe(true)
        yield* Effect.flatMap(openElsewhere(world.access('direct'), storeId), (_) => _.push(eventsFrom(0, 3)))
        yield* follower.until('the events', () => follower.seqNums().length === 3)
        expect(follower.seqNums()).toEqual([1, 2, 3])
      }),
    ))

  test('waits as well with events of a stream that is gone', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const writer = yield* openElsewhere(world.access('direct'), storeId)
        yield* writer.push(eventsFrom(0, 3))
        const cursor = cursorAt(yield* pullAll(writer), 3)
        yield* Effect.promise(() => world.atUpstream(storeId).remove())
        const network = makeNetwork()
        forbidsToMake(network)
        const backend = yield* openElsewhere({ ...world.access(mode), fetch: network.fetch, retry }, storeId)
        const follower = yield* follow(backend, cursor)
        yield* follower.until('several looks', () => network.count((_) => _.method === 'PUT') > 3)
        expect([follower.items, follower.exit()]).toEqual([[SyncBackend.pullResItemEmpty()] as Item[], undefined])
      }),
    ))
})
