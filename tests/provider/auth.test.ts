// The provider with a Worker that looks at tokens (AUTH_MODE=jwt). headers.test.ts has the faults that none shows on demand.
import { createHmac } from 'node:crypto'
import { SyncBackend, UnknownError } from '@livestore/common'
import { Effect, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HeadersFunction, Problem, SyncBackendOptions } from '../../client/src/index.ts'
import { type Backend, eventually, follow, open, openElsewhere, pullAll, run, seqNums } from './support/backend.ts'
import { eventsFrom } from './support/events.ts'
import { makeNetwork } from './support/network.ts'
import { startWorld, type World } from './support/world.ts'

const SECRET = 'a secret that is only for tests, and long enough'
/** What the Worker forgives a clock. */
const LEEWAY_S = 60

let world: World
beforeAll(async () => {
  world = await startWorld({ AUTH_MODE: 'jwt', JWT_SECRET: SECRET })
})
afterAll(() => world?.stop())

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const now = () => Math.floor(Date.now() / 1000)
const urlOf = (storeId: string) => `${world.network.url}/v1/stream/default/${storeId}`

interface Claims {
  tenant: string
  stores: string[]
  scope: string
  exp: number
}
const mint = (storeId: string, claims: Partial<Claims> = {}, secret = SECRET): string => {
  const all: Claims = { tenant: 'default', stores: [storeId], scope: 'read write', exp: now() + 3600, ...claims }
  const signed = [{ alg: 'HS256', typ: 'JWT' }, all].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** An app that keeps its token until it hears that it is refused; each dies within three seconds. */
const shortLived = (storeId: string) => {
  const fresh = () => mint(storeId, { exp: now() - LEEWAY_S + 3 })
  let token = fresh()
  let renewals = 0
  const headers: HeadersFunction = ({ refused }) => {
    if (refused) {
      token = fresh()
      renewals++
    }
    return { authorization: `Bearer ${token}` }
  }
  return { headers, renewals: () => renewals }
}

/** What the Worker says of a token. */
const problemOf = (storeId: string, token: string, init: RequestInit = {}) =>
  Effect.promise(async () => {
    const response = await fetch(urlOf(storeId), { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } })
    const problem = (await response.json()) as { _tag: string; detail: string }
    return { status: response.status, ...problem }
  })

describe('tokens that live for seconds', () => {
  test('are renewed between pushes and pulls', () =>
    run(Effect.gen(function* () {
      const storeId = world.newStore()
      const { headers, renewals } = shortLived(storeId)
      const backend = yield* open({ url: world.network.url, headers }, storeId)
      let head = 0
      for (; renewals() < 2; head++) {
        yield* backend.push(eventsFrom(head, 1))
        if (head % 10 === 0) expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, head + 1))
      }
      expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, head))
    })))

  // The Worker ends an SSE with its token; a renewal is what asks it anything in hybrid mode
  test.each([
    ['proxy', { mode: 'sse' }],
    ['proxy', { mode: 'long-poll' }],
    ['hybrid', { mode: 'sse', renewInterval: 500 }],
  ] as const)('do not end a live pull (%s, %j), which brings every event once and stays connected', (mode, live) =>
    run(Effect.gen(function* () {
      const storeId = world.newStore()
      const { headers, renewals } = shortLived(storeId)
      const backend = yield* openElsewhere({ ...world.access(mode), headers, live } as SyncBackendOptions, storeId)
      const connection: boolean[] = []
      yield* backend.isConnected.changes.pipe(Stream.runForEach((_) => Effect.sync(() => connection.push(_))), Effect.forkScoped)
      const writer = yield* openElsewhere({ url: world.network.url, headers: { authorization: `Bearer ${mint(storeId)}` } }, storeId)
      const follower = yield* follow(backend)
      let head = 0
      for (; renewals() < 2; head++) {
        yield* writer.push(eventsFrom(head, 1))
        yield* follower.until('the event', () => follower.seqNums().length === head + 1)
      }
      expect(follower.seqNums()).toEqual(numbers(1, head))
      expect(follower.exit()).toBeUndefined()
      expect(connection.slice(connection.indexOf(true))).toEqual([true])
    })))
})

describe('payload.authToken', () => {
  test.each(['proxy', 'hybrid'] as const)('lets a client in, in %s mode, and goes to the Worker alone', (mode) =>
    run(Effect.gen(function* () {
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
    })))
})

describe('a token that the Worker does not take', () => {
  const wrong: [string, 401 | 403, (storeId: string) => string][] = [
    ['that has run out', 401, (storeId) => mint(storeId, { exp: now() - LEEWAY_S - 5 })],
    ['of another secret', 401, (storeId) => mint(storeId, {}, 'another secret that is long enough, too')],
    ['that is none', 401, () => 'nonsense'],
    ['for another tenant', 403, (storeId) => mint(storeId, { tenant: 'other' })],
    ['for another store', 403, (storeId) => mint(storeId, { stores: [`${storeId}-2`] })],
    ['that allows nothing', 403, (storeId) => mint(storeId, { scope: '' })],
  ]
  const deeds: [string, (backend: Backend) => Effect.Effect<unknown, unknown>][] = [
    ['a push', (backend) => backend.push(eventsFrom(0, 1))],
    ['a pull', (backend) => pullAll(backend)],
  ]

  test.each(wrong)('%s: %i, whose detail each error has', (_, status, of) =>
    run(Effect.gen(function* () {
      const storeId = world.newStore()
      const token = of(storeId)
      const problem = yield* problemOf(storeId, token)
      expect(problem).toMatchObject({ status, _tag: status === 401 ? 'UnauthorizedError' : 'ForbiddenError' })
      for (const [, deed] of deeds) {
        const error = (yield* Effect.flip(deed(yield* open({ url: world.network.url }, storeId, { authToken: token })))) as UnknownError
        expect(error).toBeInstanceOf(UnknownError)
        expect(error.note).toContain(`HTTP ${status} from ${urlOf(storeId)}: `)
        expect(error.payload).toMatchObject({ status, _tag: problem._tag })
      }
      const pull = (yield* Effect.flip(pullAll(yield* open({ url: world.network.url }, storeId, { authToken: token })))) as UnknownError
      expect(pull.note).toContain(problem.detail)
    })))

  test('no token: 401, to a ping as well', () =>
    run(Effect.gen(function* () {
      const backend = yield* open({ url: world.network.url }, world.newStore())
      expect(yield* Effect.flip(pullAll(backend))).toMatchObject({ _tag: 'UnknownError', payload: { status: 401, _tag: 'UnauthorizedError' } })
      expect(yield* Effect.flip(backend.ping)).toMatchObject({ _tag: 'UnknownError', note: expect.stringMatching(/^HTTP 401 from .*: unauthorized/) })
      expect(yield* backend.isConnected.get).toBe(false)
    })))

  test.each(wrong)('%s: %i to a live pull, which waits, and goes on with the first one that is taken', (_, status, of) =>
    run(Effect.gen(function* () {
      const storeId = world.newStore()
      let token = of(storeId)
      const problems: (Problem | undefined)[] = []
      const headers: HeadersFunction = () => ({ authorization: `Bearer ${token}` })
      const backend = yield* open({ url: world.network.url, headers, retry: { initialDelay: 20 }, onProblem: (_) => void problems.push(_) }, storeId)
      const follower = yield* follow(backend)
      yield* eventually('it was refused', () => problems.length > 0)
      expect([follower.exit(), yield* backend.isConnected.get]).toEqual([undefined, false])
      expect(problems).toEqual([expect.objectContaining({ kind: 'refused', status })])
      token = mint(storeId)
      yield* backend.push(eventsFrom(0, 2))
      yield* follower.until('the events', () => follower.seqNums().length === 2)
      expect([problems.slice(1), yield* backend.isConnected.get]).toEqual([[undefined], true])
    })))

  test.each(['proxy', 'hybrid'] as const)('for what it does: a reader’s may not push in %s mode, but waits for others’ events', (mode) =>
    run(Effect.gen(function* () {
      const storeId = world.newStore()
      const token = mint(storeId, { scope: 'read' })
      const reader = yield* openElsewhere(world.access(mode), storeId, { authToken: token })
      const error = (yield* Effect.flip(reader.push(eventsFrom(0, 1)))) as UnknownError
      const body = JSON.stringify(eventsFrom(0, 1))
      const problem = yield* problemOf(storeId, token, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
      expect(problem.status).toBe(403)
      expect(error.note).toContain(problem.detail)
      const follower = yield* follow(reader)
      yield* follower.until('the first item', () => follower.items.length > 0)
      expect(follower.items).toEqual([SyncBackend.pullResItemEmpty()])
      const writer = yield* open({ url: world.network.url }, storeId, { authToken: mint(storeId) })
      yield* writer.push(eventsFrom(0, 2))
      yield* follower.until('the events', () => follower.seqNums().length === 2)
      expect(follower.exit()).toBeUndefined()
    })))
})
