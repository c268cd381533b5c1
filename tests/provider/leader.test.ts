// The guarantees for LiveStore's leader: true values of `isConnected`, a `NoMore` that always follows, and a pull that it can slow down and end.
import { Effect, Option } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually, follow, open, run } from '../support/backend.ts'
import { eventsFrom } from '../support/events.ts'
import { isLive, makeNetwork, mangle, type Network } from '../support/network.ts'
import { makeBadge } from '../support/problems.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

describe('the guarantees for LiveStore’s leader', () => {
  test('isConnected is true before LiveStore receives an item', () =>
    run(
      Effect.gen(function* () {
        // Its own: a client may take a moment to notice that a connection was cut, and the next test's request would fail on it
        const network = yield* Effect.promise(() => world.newNetwork())
        const backend = yield* open({ url: network.url, ping: { enabled: false } }, world.newStore())
        const atItem: boolean[] = []
        const noteConnection = () => Effect.map(backend.isConnected.get, (_) => void atItem.push(_))
        const follower = yield* follow(backend, Option.none(), noteConnection)
        for (let n = 0; n < 5; n++) {
          yield* backend.push(eventsFrom(n, 1)).pipe(Effect.retry({ times: 20 }))
          yield* follower.until('the event', () => follower.seqNums().length === n + 1)
          network.setOnline(false)
          network.setOnline(true)
        }
        expect(atItem.every(Boolean)).toBe(true)
      }),
    ))

  test('NoMore follows an item that announced more, before the connection counts as lost', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 3))
        let gets = 0
        let itemIsOut = () => {}
        const firstItem = new Promise<void>((resolve) => {
          itemIsOut = resolve
        })
        network.intercept((ask, next) => {
          if (ask.method !== 'GET') return undefined
          gets++
          if (gets > 1) return firstItem.then(() => Promise.reject(new TypeError('fetch failed')))
          return next().then((response) => {
            const headers = new Headers(response.headers)
            headers.delete('stream-up-to-date')
            return new Response(response.body, { headers })
          })
        })
        const seen: [string, boolean][] = []
        const follower = yield* follow(backend, Option.none(), (item) =>
          Effect.map(backend.isConnected.get, (_) => {
            seen.push([item.pageInfo._tag, _])
            itemIsOut()
          }),
        )
        yield* follower.until('lost', () => gets >= 3)
        expect(seen).toEqual([
          ['MoreUnknown', true],
          ['NoMore', true],
        ])
        expect(yield* backend.isConnected.get).toBe(false)
      }),
    ))

  /** The first page announces more. */
  const saysMore = (network: Network) => {
    let first = true
    network.intercept((ask, next) => {
      if (ask.method !== 'GET' || !first) return undefined
      first = false
      return next().then((response) => {
        const headers = new Headers(response.headers)
        headers.delete('stream-up-to-date')
        return new Response(response.body, { headers })
      })
    })
  }

  test('NoMore follows before pages that lead nowhere', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 3))
        saysMore(network)
        const undo = network.intercept((ask) => {
          const headers = {
            'content-type': 'application/json',
            'stream-next-offset': ask.url.searchParams.get('offset')!,
          }
          return ask.method === 'GET' ? Promise.resolve(new Response('[]', { headers })) : undefined
        })
        const follower = yield* follow(backend)
        yield* follower.until('several tries', () => network.count((_) => _.method === 'GET') >= 4)
        expect(follower.items.map((_) => [_.batch.length, _.pageInfo._tag])).toEqual([
          [3, 'MoreUnknown'],
          [0, 'NoMore'],
        ])
        undo()
        yield* backend.push(eventsFrom(3, 1))
        yield* follower.until('the event', () => follower.seqNums().length === 4)
      }),
    ))

  test('NoMore follows if the stream is gone: a device that knows its backend waits, and creates no other stream', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const storeId = world.newStore()
        const badge = makeBadge()
        const options = {
          ...world.access('direct'),
          fetch: network.fetch,
          retry: { initialDelay: 20 },
          ...badge.options,
        }
        const backend = yield* open(options, storeId)
        yield* backend.push(eventsFrom(0, 3))
        saysMore(network)
        const itemIsOut = Promise.withResolvers<void>()
        const undo = network.intercept((ask) =>
          ask.method === 'GET' ? itemIsOut.promise.then(() => new Response('', { status: 404 })) : undefined,
        )
        const follower = yield* follow(backend, Option.none(), () => Effect.sync(itemIsOut.resolve))
        yield* follower.until('several tries', () => network.count((_) => _.method === 'GET') >= 8)
        expect(follower.items.map((_) => [_.batch.length, _.pageInfo._tag])).toEqual([
          [3, 'MoreUnknown'],
          [0, 'NoMore'],
        ])
        const made = network.count((_) => _.method === 'PUT')
        expect([follower.exit(), yield* backend.isConnected.get, made]).toEqual([undefined, false, 1])
        expect(badge.told.at(-1)).toMatchObject({ kind: 'log-missing' })
        expect(yield* Effect.flip(backend.push(eventsFrom(3, 1)))).toMatchObject({ _tag: 'IsOfflineError' })
        undo()
        yield* backend.push(eventsFrom(3, 1))
        yield* follower.until('the event', () => follower.seqNums().length === 4)
        expect([badge.told.at(-1), yield* backend.isConnected.get]).toEqual([undefined, true])
      }),
    ))

  test('a slow consumer slows the reading down', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open(
          { url: world.network.url, fetch: network.fetch, live: { stallTimeout: 400 } },
          world.newStore(),
        )
        let arrived = 0
        network.intercept((ask, next) =>
          ask.live === 'sse'
            ? mangle(next, (text) => {
                arrived += text.length
                return text
              })
            : undefined,
        )
        const gate = yield* Effect.makeLatch(false)
        const follower = yield* follow(backend, Option.none(), (item) =>
          item.batch.length > 0 ? gate.await : Effect.void,
        )
        yield* eventually('live', () => network.count(isLive) > 0)
        const bytes = 4_000_000
        for (let n = 0; n < 40; n++) yield* backend.push(eventsFrom(n, 1, { text: 'x'.repeat(bytes / 40) }))
        yield* Effect.sleep(1_500) // longer than a stall, but the server does not stall
        expect(arrived).toBeLessThan(bytes / 2)
        expect(network.count(isLive)).toBe(1)
        yield* gate.open
        yield* follower.until('all', () => follower.seqNums().length === 40)
      }),
    ))

  test('interruption ends every request at once', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        const follower = yield* follow(backend)
        yield* eventually('live', () => network.count(isLive) > 0)
        yield* follower.stop
        expect(network.inFlight()).toBe(0)
      }),
    ))
})
