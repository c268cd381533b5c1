// Writing: chunks, the outcome of each answer, and lost acknowledgements.
import { BackendIdMismatchError, IsOfflineError, ServerAheadError, UnknownError } from '@livestore/common'
import { Effect } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { problemType } from '../../client/src/protocol/index.js'
import { eventually, open, openElsewhere, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork, refusal, silent } from '../support/network.ts'
import { makeBadge } from '../support/problems.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

const isPush = (ask: { method: string }) => ask.method === 'POST'
const answerPushes = (network: ReturnType<typeof makeNetwork>, answer: () => Response | Promise<Response>) =>
  network.intercept((ask) => (isPush(ask) ? Promise.resolve(answer()) : undefined))

describe('chunks', () => {
  test('a request holds at most 100 events, in order', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 250))
        const sizes = network.asked.filter(isPush).map((_) => JSON.parse(String(_.init?.body)).length)
        expect(sizes).toEqual([100, 100, 50])
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 250))
      }),
    ))

  test('a request holds at most 1 MiB', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 30, { text: 'ü'.repeat(50_000) }))
        const sizes = network.asked.filter(isPush).map((_) => Buffer.byteLength(String(_.init?.body)))
        expect(sizes.length).toBe(3)
        expect(Math.max(...sizes)).toBeLessThanOrEqual(1024 * 1024)
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 30))
      }),
    ))

  test('an event as large as a request may be is accepted, and a larger one fails and is named', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        const overhead = Buffer.byteLength(JSON.stringify(eventsFrom(0, 1, { text: '' })))
        yield* backend.push(eventsFrom(0, 1, { text: 'x'.repeat(1024 * 1024 - overhead) }))
        const error = yield* Effect.flip(backend.push(eventsFrom(1, 1, { text: 'x'.repeat(1024 * 1024) })))
        expect(error).toBeInstanceOf(UnknownError)
        expect((error as UnknownError).note).toMatch(
          /^event 2 \(v1\.Noted\) takes 1048\d\d\d bytes, but a push may take at most 1048576 /,
        )
      }),
    ))

  test('the first chunk that fails is the last one sent', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const options = { url: world.network.url, fetch: network.fetch, push: { maxBatchEvents: 10 } }
        const backend = yield* open(options, world.newStore())
        network.intercept((ask) =>
          isPush(ask) && network.count(isPush) === 2 ? Promise.resolve(new Response('', { status: 503 })) : undefined,
        )
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 30)))).toBeInstanceOf(IsOfflineError)
        expect(network.count(isPush)).toBe(2)
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 10))
      }),
    ))

  test('an empty push makes no request', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push([])
        expect(network.asked).toEqual([])
      }),
    ))
})

describe('the outcome of an answer', () => {
  test.each([408, 425, 429, 500, 502, 503, 504])('%i is IsOfflineError', (status) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        answerPushes(network, () => refusal(status, 'a-kind'))
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
        expect(network.count(isPush)).toBe(1)
      }),
    ),
  )

  const page = (status: number, headers: Record<string, string> = {}) =>
    new Response('<html>sign in', { status, headers: { 'content-type': 'text/html', ...headers } })
  const vouched = {
    'livestore-accepted': '1-1',
    'livestore-head': '1',
    'livestore-backend-id': 'a',
    'stream-next-offset': '0_1',
  }
  const without = (name: string) => Object.fromEntries(Object.entries(vouched).filter(([key]) => key !== name))
  test.each<[string, () => Response]>([
    ['a page of a captive portal', () => page(200)],
    ['an empty 200', () => new Response('')],
    ['a 204', () => new Response(null, { status: 204, headers: vouched })],
    ['a 201 with all headers of an acknowledgement', () => new Response('', { status: 201, headers: vouched })],
    [
      'an acknowledgement of other events',
      () => new Response('', { headers: { ...vouched, 'livestore-accepted': '1-2' } }),
    ],
    [
      'an acknowledgement with a head before the events',
      () => new Response('', { headers: { ...vouched, 'livestore-head': '0' } }),
    ],
    ...Object.keys(without('stream-next-offset')).map((name): [string, () => Response] => [
      `an acknowledgement without ${name}`,
      () => new Response('', { headers: without(name) }),
    ]),
    ['a redirect', () => page(302, { location: 'https://sign-in.example.com/' })],
    ['a redirect that keeps the method', () => page(308, { location: 'https://www.example.com/' })],
    [
      'the answer behind a redirect',
      () => Object.defineProperty(new Response('', { headers: vouched }), 'redirected', { value: true }),
    ],
    ...[400, 401, 403, 404, 405, 409, 413, 422].map((status): [string, () => Response] => [
      `a page with ${status}`,
      () => page(status),
    ]),
    [
      'a problem of somebody else',
      () =>
        new Response(JSON.stringify({ type: 'about:blank', status: 403, detail: 'no' }), {
          status: 403,
          headers: { 'content-type': 'application/problem+json' },
        }),
    ],
    [
      'a problem of Headwater as an HTML page',
      () =>
        new Response(JSON.stringify({ type: problemType('forbidden') }), {
          status: 403,
          headers: { 'content-type': 'text/html' },
        }),
    ],
  ])('%s does not count: the same push waits, and is accepted later', (_, answer) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const storeId = world.newStore()
        const badge = makeBadge()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch, ...badge.options }, storeId)
        yield* backend.connect
        const undo = answerPushes(network, answer)
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
        expect(yield* backend.isConnected.get).toBe(false)
        expect(badge.told).toEqual([expect.objectContaining({ kind: 'foreign-answer', status: answer().status })])
        undo()
        yield* eventually('pushes are answered again', () => Effect.runSync(backend.isConnected.get))
        expect(
          yield* Effect.promise(() =>
            world
              .atUpstream(storeId)
              .messages()
              .catch(() => []),
          ),
        ).toEqual([])
        yield* backend.push(eventsFrom(0, 1))
        expect(seqNums(yield* pullAll(backend))).toEqual([1])
        expect(badge.told.slice(1)).toEqual([undefined])
      }),
    ),
  )

  test.each<[string, (body: string) => Response | undefined]>([
    ['a firewall refuses bodies', (body) => (body.length > 2 ? page(403) : undefined)],
    [
      'a log refuses appends',
      (body) =>
        body.length > 2
          ? new Response(JSON.stringify({ type: problemType('upstream-refused') }), {
              status: 502,
              headers: { 'content-type': 'application/problem+json' },
            })
          : undefined,
    ],
  ])('%s, but lets everything else pass: the problem stays until a push is accepted', (_, answer) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const badge = makeBadge()
        const backend = yield* open(
          { url: world.network.url, fetch: network.fetch, ...badge.options },
          world.newStore(),
        )
        yield* backend.connect
        const undo = network.intercept((ask) => {
          const answered = isPush(ask) ? answer(String(ask.init?.body)) : undefined
          return answered === undefined ? undefined : Promise.resolve(answered)
        })
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
        yield* eventually('LiveStore may push again', () => Effect.runSync(backend.isConnected.get))
        expect(badge.told.map((_) => _?.kind)).toEqual([expect.stringMatching(/foreign-answer|unavailable/)])
        undo()
        yield* backend.push(eventsFrom(0, 1))
        expect(badge.told.at(-1)).toBeUndefined()
      }),
    ),
  )

  test('after a proxy’s size limit the provider sends smaller chunks', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        network.intercept((ask) =>
          isPush(ask) && String(ask.init?.body).length > 3_000 ? Promise.resolve(page(413)) : undefined,
        )
        const push = backend.push(eventsFrom(0, 30, { text: 'x'.repeat(300) }))
        expect(yield* Effect.flip(push)).toBeInstanceOf(IsOfflineError)
        yield* eventually('pushes are answered', () => Effect.runSync(backend.isConnected.get))
        yield* push
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 30))
      }),
    ))

  test('an acknowledgement of another backend than the remembered one does not count', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 1))
        answerPushes(
          network,
          () =>
            new Response('', {
              headers: {
                ...vouched,
                'livestore-accepted': '2-2',
                'livestore-head': '2',
                'livestore-backend-id': 'another',
              },
            }),
        )
        expect(yield* Effect.flip(backend.push(eventsFrom(1, 1)))).toBeInstanceOf(IsOfflineError)
      }),
    ))

  test('a lost connection is IsOfflineError', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        world.network.next({ method: 'POST' }, 'drop request')
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
      }),
    ))

  test('no answer in time is IsOfflineError', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const options = { url: world.network.url, fetch: network.fetch, push: { requestTimeout: 100 } }
        const backend = yield* open(options, world.newStore())
        network.intercept(silent)
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
      }),
    ))

  test.each([400, 401, 403, 404, 413, 415])('%i is UnknownError with the problem’s detail', (status) =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        answerPushes(network, () => refusal(status, 'a-kind', { title: 'A title', detail: 'the detail' }))
        const error = (yield* Effect.flip(backend.push(eventsFrom(0, 1)))) as UnknownError
        expect(error).toBeInstanceOf(UnknownError)
        expect(error.note).toMatch(
          new RegExp(`^HTTP ${status} from ${world.network.url}/v1/stream/default/[^ ?]+: A title: the detail`),
        )
        expect(error.payload).toEqual({ type: problemType('a-kind'), status, title: 'A title', detail: 'the detail' })
      }),
    ),
  )

  test('the Worker’s 422 names event and field', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        const [first, second] = eventsFrom(0, 2)
        const error = (yield* Effect.flip(
          backend.push([first!, { ...second!, clientId: 7 as unknown as string }]),
        )) as UnknownError
        expect(error).toBeInstanceOf(UnknownError)
        expect(error.payload).toMatchObject({ status: 422, _tag: 'InvalidPushError', index: 1, field: 'clientId' })
        expect(error.note).toMatch(/index 1.*field clientId/)
      }),
    ))

  test('a push behind the head is ServerAheadError', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        yield* backend.push(eventsFrom(0, 5))
        const error = yield* Effect.flip(backend.push(eventsFrom(2, 1, {}, 'another')))
        expect(error).toEqual(new ServerAheadError({ minimumExpectedNum: 6 as never, providedNum: 3 as never }))
      }),
    ))

  test('a push beyond the head is UnknownError, reason gap', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url }, world.newStore())
        yield* backend.push(eventsFrom(0, 5))
        const error = (yield* Effect.flip(backend.push(eventsFrom(9, 1)))) as UnknownError
        expect(error.payload).toMatchObject({ status: 409, _tag: 'InvalidPushError', reason: 'gap' })
      }),
    ))

  test('a 409 for another backend is BackendIdMismatchError once the server confirms it', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        yield* backend.push(eventsFrom(0, 1))
        answerPushes(network, () =>
          refusal(409, 'backend-id-mismatch', { _tag: 'BackendIdMismatchError', expected: 'a', received: 'b' }),
        )
        // The 409 of another store, by mistake: the server does not confirm it
        expect(yield* Effect.flip(backend.push(eventsFrom(1, 1)))).toBeInstanceOf(IsOfflineError)
        network.intercept((ask) =>
          ask.method === 'HEAD'
            ? Promise.resolve(new Response(null, { headers: { 'livestore-head': '0', 'livestore-backend-id': 'a' } }))
            : undefined,
        )
        const error = yield* Effect.flip(backend.push(eventsFrom(1, 1)))
        expect(error).toEqual(new BackendIdMismatchError({ expected: 'a', received: 'b' }))
      }),
    ))

  test('a ServerAheadError of another push does not count', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, world.newStore())
        const undo = answerPushes(network, () =>
          refusal(409, 'server-ahead', { _tag: 'ServerAheadError', minimumExpectedNum: 90, providedNum: 80 }),
        )
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
        undo()
        yield* backend.push(eventsFrom(0, 1))
      }),
    ))

  test('a firewall that inspects bodies blocks only the event that it refuses, and the following ones', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const storeId = world.newStore()
        const backend = yield* open({ url: world.network.url, fetch: network.fetch }, storeId)
        network.intercept((ask) =>
          isPush(ask) && String(ask.init?.body).includes('a-client-6"') ? Promise.resolve(page(403)) : undefined,
        )
        const attempt = Effect.flip(backend.push(eventsFrom(0, 8)))
        yield* attempt
        yield* eventually('pushes are answered', () => Effect.runSync(backend.isConnected.get))
        expect(yield* attempt).toBeInstanceOf(IsOfflineError)
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 5))
      }),
    ))
})

/** Pushes go by HTTP. With a socket, some would go there, once it is open. */
const byHttp = { live: { mode: 'sse' } } as const

describe('after a lost acknowledgement', () => {
  test('the repeated push is accepted, and is in the stream once', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ url: world.network.url, ...byHttp }, world.newStore())
        yield* backend.push(eventsFrom(0, 3))
        world.network.next({ method: 'POST' }, 'drop response')
        expect(yield* Effect.flip(backend.push(eventsFrom(3, 3)))).toBeInstanceOf(IsOfflineError)
        yield* backend.push(eventsFrom(3, 3))
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 6))
      }),
    ))

  test('of the first of two chunks, the repeated push is accepted as a whole', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open(
          { url: world.network.url, push: { maxBatchEvents: 3 }, ...byHttp },
          world.newStore(),
        )
        world.network.next({ method: 'POST' }, 'drop response')
        yield* Effect.flip(backend.push(eventsFrom(0, 6)))
        yield* backend.push(eventsFrom(0, 6))
        expect(seqNums(yield* pullAll(backend))).toEqual(numbers(1, 6))
      }),
    ))
})

test('a device without a backend does not wait for events that a reset took away', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const before = yield* openElsewhere({ url: world.network.url }, storeId)
      yield* before.push(eventsFrom(0, 3)) // the Sequencer is warm, its head 3
      yield* Effect.promise(() => world.atUpstream(storeId).remove())
      const backend = yield* open({ url: world.network.url }, storeId)
      yield* Effect.promise(() => world.atWorker(storeId).request('DELETE'))
      yield* backend.push(eventsFrom(0, 1))
      expect(seqNums(yield* pullAll(backend))).toEqual([1])
    }),
  ))
