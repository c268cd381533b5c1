// Networks that hold a response back until it ends. Neither sockets nor SSE get through them, so the provider uses long-poll.
import { Effect, type Scope, Stream } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type BufferingProxy,
  type Server,
  startBufferingProxy,
  startNodeUpstream,
  startWorker,
} from '../harness/index.ts'
import { type Backend, eventually, follow, openElsewhere, run } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork } from '../support/network.ts'
import { type Access, type Mode, startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

const proxy = (url: string, holds: 'body' | 'all'): Effect.Effect<BufferingProxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startBufferingProxy(url, holds)),
    (_) => Effect.promise(() => _.stop()),
  )

const connections = (backend: Backend) =>
  Effect.gen(function* () {
    const seen: boolean[] = []
    yield* backend.isConnected.changes.pipe(
      Stream.runForEach((_) => Effect.sync(() => seen.push(_))),
      Effect.forkScoped,
    )
    yield* eventually('watching', () => seen.length > 0)
    return seen
  })

describe.each([
  ['body', 'body'],
  ['whole', 'all'],
] as const)('on a network that holds back the %s of a response until its end', (_, holds) => {
  test.each<Mode>(['proxy', 'direct'])(
    '%s: after two silent SSE connections the provider uses long-poll, brings every event once, and stays connected',
    (mode) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const access = world.access(mode)
          const { url } = yield* proxy(access.url ?? access.upstream.url, holds)
          const held: Access = access.url === undefined ? { ...access, upstream: { url } } : { ...access, url }
          const network = makeNetwork()
          const backend = yield* openElsewhere(
            { ...held, fetch: network.fetch, live: { firstByteTimeout: 300 } },
            storeId,
          )
          const connected = yield* connections(backend)
          const follower = yield* follow(backend)
          const writer = yield* openElsewhere(access, storeId)
          const count = (live: string) => network.count((_) => _.live === live)

          // One event while each connection is held back, and some over long-poll
          for (const [i, live] of [
            ['sse', 1],
            ['sse', 2],
            ['long-poll', 1],
            ['long-poll', 2],
            ['long-poll', 3],
          ].entries()) {
            yield* eventually(`${live[0]} ${live[1]}`, () => count(live[0] as string) >= (live[1] as number))
            yield* writer.push(eventsFrom(i, 1))
            yield* follower.until('the event', () => follower.seqNums().length === i + 1, 3_000)
          }
          expect(follower.seqNums()).toEqual(numbers(1, 5))
          expect(count('sse')).toBe(2)
          expect([connected, follower.exit()]).toEqual([[false, true], undefined])
        }),
      ),
  )
})

test.each([
  ['body', 'body'],
  ['whole', 'all'],
] as const)(
  'on a network that holds back the %s of a response: the provider gives up the socket, then SSE, and brings and pushes every event',
  (_, holds) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const { url } = yield* proxy(world.network.url, holds)
        const backend = yield* openElsewhere({ url, live: { firstByteTimeout: 300 } }, storeId)
        const connected = yield* connections(backend)
        const follower = yield* follow(backend)
        const writer = yield* openElsewhere({ url: world.worker.url }, storeId)
        const asked = (live: 'websocket' | 'sse' | 'long-poll') => world.network.count({ path: storeId, live })

        yield* writer.push(eventsFrom(0, 1))
        yield* follower.until('the event', () => follower.seqNums().length === 1, 3_000)
        yield* backend.push(eventsFrom(1, 1))
        yield* eventually('long-poll', () => asked('long-poll') > 0)
        yield* writer.push(eventsFrom(2, 1))
        yield* follower.until('every event', () => follower.seqNums().length === 3, 3_000)
        yield* backend.push(eventsFrom(3, 1))
        yield* follower.until('its own event', () => follower.seqNums().length === 4, 3_000)
        expect(follower.seqNums()).toEqual(numbers(1, 4))
        expect([asked('websocket'), asked('sse')]).toEqual([1, 2])
        expect([connected, follower.exit()]).toEqual([[false, true], undefined])
      }),
    ),
)

describe('an idle SSE connection does not lead to long-poll', () => {
  let node: Server
  let workerOnNode: Server
  beforeAll(async () => {
    node = await startNodeUpstream()
    workerOnNode = await startWorker({ upstreamUrl: node.url })
  })
  afterAll(async () => {
    await workerOnNode?.stop()
    await node?.stop()
  })

  test('with the Rust and the Node server, and through the Worker before each', () =>
    run(
      Effect.gen(function* () {
        const each: Access[] = [
          { url: world.worker.url },
          { url: workerOnNode.url },
          { mode: 'direct', upstream: { url: world.upstream.url } },
          { mode: 'direct', upstream: { url: node.url } },
        ]
        const firstByteTimeout = 1_500
        yield* Effect.forEach(
          each,
          (access) =>
            Effect.gen(function* () {
              const storeId = world.newStore()
              const network = makeNetwork()
              const backend = yield* openElsewhere(
                { ...access, fetch: network.fetch, live: { firstByteTimeout } },
                storeId,
              )
              yield* backend.push(eventsFrom(0, 1))
              const follower = yield* follow(backend)
              yield* eventually('live', () => network.count((_) => _.live !== null) > 0)
              yield* Effect.sleep(firstByteTimeout * 2) // tests the silence
              expect(network.asked.filter((_) => _.live !== null).map((_) => _.live)).toEqual(['sse'])
              yield* backend.push(eventsFrom(1, 1))
              yield* follower.until('the event', () => follower.seqNums().length === 2)
            }),
          { concurrency: 'unbounded' },
        )
      }),
    ))
})
