// The provider with a Worker that checks tokens (AUTH_MODE=jwt). headers.test.ts has the faults that a real Worker does not show on demand.
import { SyncBackend, UnknownError } from '@livestore/common'
import { Effect, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HeadersFunction, SyncBackendOptions } from '../../client/src/index.ts'
import { type Backend, eventually, follow, open, openElsewhere, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork } from '../support/network.ts'
import { makeBadge } from '../support/problems.ts'
import { bearer, type Claims, hs256, JWT, now, SECRET } from '../support/tokens.ts'
import { startWorld, type World } from '../support/world.ts'

/** The Worker tolerates so much difference between clocks. */
const LEEWAY_S = 60

let world: World
beforeAll(async () => {
  world = await startWorld({ vars: JWT })
})
afterAll(() => world?.stop())

const urlOf = (storeId: string) => `${world.network.url}/v1/stream/default/${storeId}`

const mint = (storeId: string, claims: Claims = {}, secret = SECRET): string =>
  hs256({ tenant: 'default', stores: [storeId], scope: 'read write', ...claims }, secret)

/** An app that keeps its token until the server refuses it. Each token expires within three seconds. */
const shortLived = (storeId: string) => {
  const fresh = () => mint(storeId, { exp: now() - LEEWAY_S + 3 })
  let token = fresh()
  let renewals = 0
  const headers: HeadersFunction = ({ refused }) => {
    if (refused) {
      token = fresh()
      renewals++
    }
    return bearer(token)
  }
  return { headers, renewals: () => renewals }
}

/** The Worker's answer about a token. */
const problemOf = (storeId: string, token: string, init: RequestInit = {}) =>
  Effect.promise(async () => {
    const response = await fetch(urlOf(storeId), {
      ...init,
      headers: { ...init.headers, ...bearer(token) },
    })
    const problem = (await response.json()) as { _tag: string; detail: string }
    return { status: response.status, ...problem }
  })

describe('tokens that expire within seconds', () => {
  test('the provider renews them between pushes and pulls', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const { headers, renewals } = shortLived(storeId)
        const backend = yield* open({ url: world.network.url, headers }, storeId)
        let head = 0
        for (; renewals() < 2; head++) {
          yield* backend.push(eventsFrom(head, 1))
          if (head % 10 === 0) expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, head + 1))
        }
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, head))
      }),
    ))

  // The Worker ends an SSE connection with its token. In hybrid mode only a renewal asks the Worker
  test.each([
    ['proxy', { mode: 'sse' }],
    ['proxy', { mode: 'long-poll' }],
    ['hybrid', { mode: 'sse', renewInterval: 500 }],
  ] as const)('a live pull (%s, %j) brings every event once and stays connected', (mode, live) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const { headers, renewals } = shortLived(storeId)
        const backend = yield* openElsewhere({ ...world.access(mode), headers, live } as SyncBackendOptions, storeId)
        const connection: boolean[] = []
        yield* backend.isConnected.changes.pipe(
          Stream.runForEach((_) => Effect.sync(() => connection.push(_))),
          Effect.forkScoped,
        )
        const writer = yield* openElsewhere({ url: world.network.url, headers: bearer(mint(storeId)) }, storeId)
        const follower = yield* follow(backend)
        let head = 0
        for (; renewals() < 2; head++) {
          yield* writer.push(eventsFrom(head, 1))
          yield* follower.until('the event', () => follower.seqNums().length === head + 1)
        }
        expect(follower.seqNums()).toEqual(numbers(1, head))
        expect(follower.exit()).toBeUndefined()
        expect(connection.slice(connection.indexOf(true))).toEqual([true])
      }),
    ),
  )
})

describe('payload.authToken', () => {
  test.each(['proxy', 'hybrid'] as const)(
    'in %s mode the provider sends it to the Worker alone, which lets the client in',
    (mode) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const authToken = mint(storeId)
          const network = makeNetwork()
          const backend = yield* open({ ...world.access(mode), fetch: network.fetch }, storeId, { authToken })
          yield* backend.connect
          yield* backend.push(eventsFrom(0, 3))
          expect(seqNums(yield* pullAll(backend))).toEqual([1, 2, 3])
          const follower = yield* follow(backend)
          yield* follower.until('live', () => network.count((_) => _.live !== null) > 0)
          const upstreams = network.asked.filter((_) => _.url.origin === new URL(world.bypass.url).origin)
          expect(upstreams.length > 0).toBe(mode === 'hybrid')
          for (const { url, init } of upstreams) {
            expect(JSON.stringify([url, [...new Headers(init?.headers)], init?.body])).not.toContain(authToken)
            expect(new Headers(init?.headers).has('authorization')).toBe(false)
          }
        }),
      ),
  )
})

describe('a token that the Worker refuses', () => {
  const wrong: [string, 401 | 403, (storeId: string) => string][] = [
    ['an expired token', 401, (storeId) => mint(storeId, { exp: now() - LEEWAY_S - 5 })],
    [
      'a token signed with another secret',
      401,
      (storeId) => mint(storeId, {}, 'another secret that is long enough, too'),
    ],
    ['no JWT', 401, () => 'nonsense'],
    ['a token for another tenant', 403, (storeId) => mint(storeId, { tenant: 'other' })],
    ['a token for another store', 403, (storeId) => mint(storeId, { stores: [`${storeId}-2`] })],
    ['a token without a scope', 403, (storeId) => mint(storeId, { scope: '' })],
  ]
  const deeds: [string, (backend: Backend) => Effect.Effect<unknown, unknown>][] = [
    ['a push', (backend) => backend.push(eventsFrom(0, 1))],
    ['a pull', (backend) => pullAll(backend)],
  ]

  test.each(wrong)('%s: a push and a pull fail with %i and the Worker’s detail', (_, status, of) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const token = of(storeId)
        const problem = yield* problemOf(storeId, token)
        expect(problem).toMatchObject({ status, _tag: status === 401 ? 'UnauthorizedError' : 'ForbiddenError' })
        for (const [, deed] of deeds) {
          const error = (yield* Effect.flip(
            deed(yield* open({ url: world.network.url }, storeId, { authToken: token })),
          )) as UnknownError
          expect(error).toBeInstanceOf(UnknownError)
          expect(error.note).toContain(`HTTP ${status} from ${urlOf(storeId)}: `)
          expect(error.payload).toMatchObject({ status, _tag: problem._tag })
        }
        const pull = (yield* Effect.flip(
          pullAll(yield* open({ url: world.network.url }, storeId, { authToken: token })),
        )) as UnknownError
        expect(pull.note).toContain(problem.detail)
      }),
    ),
  )

  test('no token: a ping, too, fails with 401', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        expect(yield* Effect.flip(pullAll(backend))).toMatchObject({
          _tag: 'UnknownError',
          payload: { status: 401, _tag: 'UnauthorizedError' },
        })
        expect(yield* Effect.flip(backend.ping)).toMatchObject({
          _tag: 'UnknownError',
          note: expect.stringMatching(/^HTTP 401 from .*: unauthorized/),
        })
        expect(yield* backend.isConnected.get).toBe(false)
      }),
    ))

  test.each(wrong)(
    '%s: a live pull waits after %i, and goes on with the first token that the Worker accepts',
    (_, status, of) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          let token = of(storeId)
          const badge = makeBadge()
          const headers: HeadersFunction = () => bearer(token)
          const backend = yield* open(
            { url: world.network.url, headers, retry: { initialDelay: 20 }, ...badge.options },
            storeId,
          )
          const follower = yield* follow(backend)
          yield* eventually('it was refused', () => badge.told.length > 0)
          expect([follower.exit(), yield* backend.isConnected.get]).toEqual([undefined, false])
          expect(badge.told).toEqual([expect.objectContaining({ kind: 'refused', status })])
          token = mint(storeId)
          yield* backend.push(eventsFrom(0, 2))
          yield* follower.until('the events', () => follower.seqNums().length === 2)
          expect([badge.told.slice(1), yield* backend.isConnected.get]).toEqual([[undefined], true])
        }),
      ),
  )

  test.each(['proxy', 'hybrid'] as const)(
    'a reader’s token can’t push in %s mode, and the live pull waits for others’ events',
    (mode) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const token = mint(storeId, { scope: 'read' })
          const reader = yield* openElsewhere(world.access(mode), storeId, { authToken: token })
          const error = (yield* Effect.flip(reader.push(eventsFrom(0, 1)))) as UnknownError
          const body = JSON.stringify(eventsFrom(0, 1))
          const problem = yield* problemOf(storeId, token, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body,
          })
          expect(problem.status).toBe(403)
          expect(error.note).toContain(problem.detail)
          const follower = yield* follow(reader)
          yield* follower.until('the first item', () => follower.items.length > 0)
          expect(follower.items).toEqual([SyncBackend.pullResItemEmpty()])
          const writer = yield* open({ url: world.network.url }, storeId, { authToken: mint(storeId) })
          yield* writer.push(eventsFrom(0, 2))
          yield* follower.until('the events', () => follower.seqNums().length === 2)
          expect(follower.exit()).toBeUndefined()
        }),
      ),
  )
})
