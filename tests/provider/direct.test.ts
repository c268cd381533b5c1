// Direct mode writes without a Worker: its requests, and the outcome of a push whose request or answer is lost, late, or cut
// off by a crash of the log's server.
import { BackendIdMismatchError, IsOfflineError, ServerAheadError, type UnknownError } from '@livestore/common'
import { Effect, Fiber, KeyValueStore, Option } from '@livestore/utils/effect'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { headerMessage, problemType } from '../../client/src/protocol/index.js'
import type { Fault } from '../harness/index.ts'
import { type Backend, eventually, follow, open, openElsewhere, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { makeNetwork } from '../support/network.ts'
import { randomFrom, seed } from '../support/random.ts'
import { startWorld, type World } from '../support/world.ts'
import { checkLog, makeWriter } from './support/writer.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())
afterEach(() => world.bypass.inject())

const access = () => world.access('direct')
const patience = { push: { requestTimeout: 400 } }
const streamUrl = (storeId: string) => `${world.upstream.url}/default/${storeId}`
const logged = (storeId: string) =>
  Effect.map(
    Effect.promise(() => world.atUpstream(storeId).messages()),
    ([, ...events]) => events as { seqNum: number; clientId: string }[],
  )
const appends = (storeId: string) =>
  world.bypass.requests.filter((_) => _.method === 'POST' && _.path.endsWith(storeId))

describe('on the wire', () => {
  test('a stream begins with its header, and each append carries the fence, the producer and its number', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 2))
        yield* backend.push(eventsFrom(2, 1))
        const [header, ...events] = yield* Effect.promise(() => world.atUpstream(storeId).messages())
        expect(header).toEqual({
          livestore: {
            backendId: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
            version: 1,
          },
        })
        expect(events).toEqual(eventsFrom(0, 3))
        const headers = appends(storeId).map((_) => _.headers)
        expect(
          headers.map((_) => [_['content-type'], _['stream-seq'], _['producer-epoch'], _['producer-seq']]),
        ).toEqual([
          ['application/json', '0000000000000000', '0', '0'],
          ['application/json', '0000000000000002', '0', '1'],
        ])
        expect(new Set(headers.map((_) => _['producer-id'])).size).toBe(1)
      }),
    ))

  test('a push onto a head that was just pulled costs one check and one append, and the next push only an append', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        yield* Effect.flatMap(openElsewhere(access(), storeId), (_) => _.push(eventsFrom(0, 5)))
        const network = makeNetwork()
        const backend = yield* open({ ...access(), fetch: network.fetch }, storeId)
        yield* pullAll(backend)
        const pushed = (events: Parameters<Backend['push']>[0]) =>
          Effect.gen(function* () {
            const before = network.asked.length
            yield* backend.push(events)
            return network.asked.slice(before).map((_) => _.method)
          })
        expect([yield* pushed(eventsFrom(5, 1)), yield* pushed(eventsFrom(6, 1))]).toEqual([['GET', 'POST'], ['POST']])
      }),
    ))

  test('a writer that loses the race to create a stream reads the winner’s header', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const racers = yield* Effect.forEach(['a', 'b', 'c', 'd'], (name) =>
          Effect.map(openElsewhere(access(), storeId), (backend) => ({ name, backend })),
        )
        const results = yield* Effect.forEach(
          racers,
          ({ name, backend }) => Effect.either(backend.push(eventsFrom(0, 1, {}, name))),
          { concurrency: 'unbounded' },
        )
        expect(results.filter((_) => _._tag === 'Right').length).toBe(1)
        for (const result of results) {
          if (result._tag === 'Left')
            expect(result.left).toEqual(
              new ServerAheadError({ minimumExpectedNum: 2 as never, providedNum: 1 as never }),
            )
        }
        expect((yield* logged(storeId)).length).toBe(1)
      }),
    ))

  test('a push to a stream whose header is on its way waits for the header', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const headers = { 'content-type': 'application/json' }
        yield* Effect.promise(() => fetch(streamUrl(storeId), { method: 'PUT', headers }))
        const backend = yield* open(access(), storeId)
        const follower = yield* follow(backend)
        yield* follower.until('the first item', () => follower.items.length > 0)
        const pushed = yield* Effect.fork(backend.push(eventsFrom(0, 1)))
        yield* eventually(
          'the push looks',
          () =>
            world.bypass.requests.filter(
              (_) => _.path.endsWith(storeId) && _.method === 'GET' && _.query.get('live') === null,
            ).length >= 4,
        )
        const header = headerMessage('late')
        yield* Effect.promise(() => world.atUpstream(storeId).append([header]))
        yield* Fiber.join(pushed)
        expect(yield* Effect.promise(() => world.atUpstream(storeId).messages())).toEqual([header, ...eventsFrom(0, 1)])
        yield* follower.until('the event', () => follower.seqNums().length === 1)
        expect(yield* Effect.flatMap(KeyValueStore.KeyValueStore, (_) => _.get('backendId'))).toEqual(
          Option.some('late'),
        )
      }),
    ))

  test('a push to an empty stream that gets no header writes to it', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        yield* Effect.promise(() =>
          fetch(streamUrl(storeId), { method: 'PUT', headers: { 'content-type': 'application/json' } }),
        )
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 1))
        yield* backend.push(eventsFrom(1, 1))
        expect(seqNums(yield* pullAll(backend))).toEqual([1, 2])
      }),
    ))

  test('a push to another tool’s stream without a header writes to it, and takes its path for its id', () =>
    run(
      Effect.gen(function* () {
        const storeId = `o'clock-${world.newStore()}`
        const url = streamUrl(storeId.replace("'", '~27'))
        const headers = { 'content-type': 'application/json' }
        yield* Effect.promise(() => fetch(url, { method: 'PUT', headers, body: JSON.stringify(eventsFrom(0, 3)) }))
        const backend = yield* open(access(), storeId)
        expect(seqNums(yield* pullAll(backend))).toEqual([1, 2, 3])
        yield* backend.push(eventsFrom(3, 1))
        expect(seqNums(yield* pullAll(backend))).toEqual([1, 2, 3, 4])
        const id = yield* Effect.flatMap(KeyValueStore.KeyValueStore, (_) => _.get('backendId'))
        expect(id).toEqual(Option.some(`path:default/${storeId.replace("'", '~27')}`))
      }),
    ))

  test('a ping asks the log’s server, with or without a stream', () =>
    run(
      Effect.gen(function* () {
        const backend = yield* open({ ...access(), ping: { enabled: false } }, world.newStore())
        yield* backend.connect
        expect(yield* backend.isConnected.get).toBe(true)
        world.bypass.setOnline(false)
        expect(yield* Effect.flip(backend.ping)).toBeInstanceOf(IsOfflineError)
        world.bypass.setOnline(true)
      }),
    ))
})

describe('an append', () => {
  const lost: [string, Fault, boolean][] = [
    ['whose request is lost', 'drop request', false],
    ['whose answer is lost', 'drop response', true],
    ['that is answered 503 and did not land', { status: 503 }, false],
    ['that is answered 503 and landed', { status: 503, applied: true }, true],
    ['that is answered 500 and landed', { status: 500, applied: true }, true],
    ['that a captive portal answers 200', { status: 200, body: '<html>' }, false],
    ['that landed, but is not answered in time', { hold: 'response', ms: 1_000 }, true],
  ]

  test.each(lost)('%s: after a repeated push it is in the log once', (_, fault, done) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open({ ...access(), ...patience }, storeId)
        yield* backend.push(eventsFrom(0, 3))
        world.bypass.next({ method: 'POST' }, fault)
        yield* Effect.flip(backend.push(eventsFrom(3, 2)))
        expect((yield* logged(storeId)).length).toBe(done ? 5 : 3)
        const before = appends(storeId).length
        yield* backend.push(eventsFrom(3, 2))
        expect(appends(storeId).length - before).toBe(done ? 0 : 1)
        yield* backend.push(eventsFrom(5, 1))
        expect((yield* logged(storeId)).map((_) => _.seqNum)).toEqual(numbers(1, 6))
      }),
    ),
  )

  test.each(lost)(
    '%s, and another writer goes first: the repeated push succeeds only if the append landed',
    (_, fault, done) =>
      run(
        Effect.gen(function* () {
          const storeId = world.newStore()
          const backend = yield* openElsewhere({ ...access(), ...patience }, storeId)
          yield* backend.push(eventsFrom(0, 3))
          world.bypass.next({ method: 'POST' }, fault)
          yield* Effect.flip(backend.push(eventsFrom(3, 2)))
          const other = yield* openElsewhere(access(), storeId)
          const from = done ? 5 : 3
          yield* other.push(eventsFrom(from, 4, {}, 'other'))
          const again = yield* Effect.either(backend.push(eventsFrom(3, 2)))
          if (done) expect(again._tag).toBe('Right')
          else
            expect(again).toMatchObject({
              left: new ServerAheadError({ minimumExpectedNum: 8 as never, providedNum: 4 as never }),
            })
          expect((yield* logged(storeId)).map((_) => _.seqNum)).toEqual(numbers(1, from + 4))
        }),
      ),
  )

  test('that arrives long after its timeout does no harm', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open({ ...access(), ...patience }, storeId)
        yield* backend.push(eventsFrom(0, 3))
        const held = world.bypass.next({ method: 'POST' }, 'hold request')
        expect(yield* Effect.flip(backend.push(eventsFrom(3, 2)))).toBeInstanceOf(IsOfflineError)
        yield* backend.push(eventsFrom(3, 2))
        held.release()
        yield* Effect.promise(() => world.bypass.settled())
        yield* backend.push(eventsFrom(5, 1))
        expect((yield* logged(storeId)).map((_) => _.seqNum)).toEqual(numbers(1, 6))
      }),
    ))

  test('that was interrupted: the writer looks for it before it sends it again', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 3))
        const held = world.bypass.next({ method: 'POST' }, 'hold response')
        yield* Effect.raceFirst(
          backend.push(eventsFrom(3, 2)),
          Effect.promise(() => held.met),
        )
        held.release()
        const before = appends(storeId).length
        yield* backend.push(eventsFrom(3, 2))
        expect(appends(storeId).length).toBe(before)
        expect((yield* logged(storeId)).map((_) => _.seqNum)).toEqual(numbers(1, 5))
      }),
    ))

  test.each([
    [413, 'too large'],
    [403, 'not yours'],
  ])('that is answered %i fails without a retry, and the next one succeeds', (status, detail) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 3))
        world.bypass.next({ method: 'POST' }, { status, body: JSON.stringify({ detail }) })
        expect(yield* Effect.flip(backend.push(eventsFrom(3, 1)))).toMatchObject({
          _tag: 'UnknownError',
          note: expect.stringContaining(detail),
        })
        yield* backend.push(eventsFrom(3, 1))
        expect((yield* logged(storeId)).length).toBe(4)
      }),
    ),
  )

  test('to a closed stream fails and says so', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 1))
        yield* Effect.promise(() => fetch(streamUrl(storeId), { method: 'POST', headers: { 'stream-closed': 'true' } }))
        const error = yield* Effect.flip(backend.push(eventsFrom(1, 1)))
        expect((error as UnknownError).note).toContain('closed')
        expect((error as UnknownError).payload).toMatchObject({ type: problemType('store-closed') })
      }),
    ))
})

describe('an answer of somebody else', () => {
  const page = (status: number) =>
    Promise.resolve(new Response('<html>', { status, headers: { 'content-type': 'text/html' } }))

  test('that claims to have created a stream names no backend', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        yield* Effect.flatMap(openElsewhere(access(), storeId), (_) => _.push(eventsFrom(0, 2)))
        const network = makeNetwork()
        const backend = yield* openElsewhere({ ...access(), fetch: network.fetch }, storeId)
        const undo = network.intercept((ask) =>
          ask.method === 'PUT' ? page(201) : Promise.resolve(new Response('', { status: 404 })),
        )
        expect(yield* Effect.flip(backend.push(eventsFrom(2, 1)))).toBeInstanceOf(IsOfflineError)
        undo()
        yield* backend.push(eventsFrom(2, 1))
        expect((yield* logged(storeId)).length).toBe(3)
      }),
    ))

  test('with status 200 to everything is not taken for the log’s server', () =>
    run(
      Effect.gen(function* () {
        const network = makeNetwork()
        const backend = yield* openElsewhere(
          { ...access(), fetch: network.fetch, ping: { enabled: false } },
          world.newStore(),
        )
        const undo = network.intercept(() => page(200))
        expect(yield* Effect.flip(backend.connect)).toBeInstanceOf(IsOfflineError)
        expect(yield* Effect.flip(backend.push(eventsFrom(0, 1)))).toBeInstanceOf(IsOfflineError)
        expect(yield* backend.isConnected.get).toBe(false)
        undo()
        yield* backend.connect
        yield* backend.push(eventsFrom(0, 1))
      }),
    ))
})

test('a fork, from a server that keeps the fence for each writer, stops a writer whose pull has met it', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const backend = yield* open(access(), storeId)
      yield* backend.push(eventsFrom(0, 3))
      const follower = yield* follow(backend)
      yield* follower.until('the events', () => follower.seqNums().length === 3)
      yield* Effect.promise(() => world.atUpstream(storeId).append(eventsFrom(1, 2, {}, 'other')))
      yield* follower.until('the end', () => follower.exit() !== undefined)
      const error = (yield* Effect.flip(backend.push(eventsFrom(3, 1)))) as UnknownError
      expect(error.note).toMatch(/the log is broken: .* keeps a Stream-Seq for each writer/)
    }),
  ))

describe('an answer of the log’s server', () => {
  const offsetless = (response: Response) => {
    const headers = new Headers(response.headers)
    for (const name of [...headers.keys()]) if (name.startsWith('stream-')) headers.delete(name)
    return new Response(response.body, { status: response.status, headers })
  }

  test.each(['GET', 'HEAD'])('without a log is not believed: a 204 to %s from something on the way', (method) =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const network = makeNetwork()
        const backend = yield* open({ ...access(), fetch: network.fetch }, storeId)
        yield* backend.push(eventsFrom(0, 2))
        const restarted = yield* open({ ...access(), fetch: network.fetch }, storeId)
        yield* pullAll(restarted) // now the client knows the tail, and checks it
        const undo = network.intercept((ask, next) => {
          if (ask.method === method) return Promise.resolve(new Response(null, { status: 204 }))
          if (ask.method !== 'GET') return undefined
          // A server that answers in pages, so that the provider asks for its tail
          return next().then((response) => {
            const headers = new Headers(response.headers)
            headers.delete('stream-up-to-date')
            return new Response(response.body, { headers })
          })
        })
        expect(yield* Effect.flip(restarted.push(eventsFrom(2, 1)))).toBeInstanceOf(IsOfflineError)
        undo()
        yield* restarted.push(eventsFrom(2, 1))
        expect((yield* logged(storeId)).map((_) => _.seqNum)).toEqual([1, 2, 3])
      }),
    ),
  )

  test('whose offsets a browser hides fails with an error that says what to do', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        yield* Effect.flatMap(openElsewhere(access(), storeId), (_) => _.push(eventsFrom(0, 2)))
        const network = makeNetwork()
        network.intercept((_, next) => next().then(offsetless))
        const backend = yield* open({ ...access(), fetch: network.fetch }, storeId)
        const follower = yield* follow(backend)
        yield* follower.until('the end', () => follower.exit() !== undefined)
        const errors = [
          yield* Effect.flip(backend.push(eventsFrom(2, 1))),
          yield* Effect.flip(pullAll(backend)),
          yield* Effect.flip(follower.exit()!),
        ]
        for (const error of errors) {
          expect(error).toMatchObject({
            _tag: 'UnknownError',
            note: expect.stringContaining('its CORS exposes this header'),
          })
        }
      }),
    ))

  test('may come slowly, but silence is a lost connection', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        yield* Effect.flatMap(openElsewhere(access(), storeId), (_) => _.push(eventsFrom(0, 50)))
        const network = makeNetwork()
        const slowly = (pieces: number) => (response: Response) => {
          const piece = 400
          const body = new ReadableStream<Uint8Array>({
            start: async (controller) => {
              const bytes = new Uint8Array(await response.arrayBuffer())
              for (let sent = 0; sent < bytes.length && sent < pieces * piece; sent += piece) {
                await new Promise((resolve) => setTimeout(resolve, 30))
                controller.enqueue(bytes.subarray(sent, sent + piece))
              }
              if (bytes.length <= pieces * piece) controller.close()
            },
          })
          return new Response(body, { headers: response.headers })
        }
        let pieces = 5
        network.intercept((ask, next) => (ask.method === 'GET' ? next().then(slowly(pieces)) : undefined))
        const options = {
          ...access(),
          fetch: network.fetch,
          push: { requestTimeout: 200 },
          live: { stallTimeout: 200 },
        }
        const backend = yield* open(options, storeId)
        expect(yield* Effect.flip(backend.push(eventsFrom(50, 1)))).toMatchObject({
          _tag: 'IsOfflineError',
          cause: { timedOut: true },
        })
        pieces = 1000
        const started = Date.now()
        yield* backend.push(eventsFrom(50, 1))
        expect(Date.now() - started).toBeGreaterThan(400)
        expect((yield* logged(storeId)).length).toBe(51)
      }),
    ))
})

describe('a log that changed behind the writer’s back', () => {
  test('recreated: the push fails with the mismatch, and nothing lands in the new log', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 5))
        yield* Effect.promise(() => world.atUpstream(storeId).remove())
        yield* Effect.flatMap(openElsewhere(access(), storeId), (_) => _.push(eventsFrom(0, 2, {}, 'other')))
        expect(yield* Effect.flip(backend.push(eventsFrom(5, 1)))).toBeInstanceOf(BackendIdMismatchError)
        expect((yield* logged(storeId)).map((_) => _.clientId)).toEqual(['other', 'other'])
      }),
    ))

  test('restored to an older state: the push appends nothing, and the error says what is lost', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const backend = yield* open(access(), storeId)
        yield* backend.push(eventsFrom(0, 5))
        const saved = yield* Effect.promise(() => world.atUpstream(storeId).messages())
        yield* backend.push(eventsFrom(5, 5))
        yield* Effect.promise(() => world.atUpstream(storeId).remove())
        const headers = { 'content-type': 'application/json' }
        yield* Effect.promise(() => fetch(streamUrl(storeId), { method: 'PUT', headers, body: JSON.stringify(saved) }))
        for (let i = 0; i < 2; i++) {
          const error = (yield* Effect.flip(backend.push(eventsFrom(10, 1)))) as UnknownError
          expect(error.note).toMatch(/lost events: it ends at event 5, but once ended at event 10/)
        }
        expect((yield* logged(storeId)).length).toBe(5)
      }),
    ))

  test('its server restarted and forgot its fence and its producers: writing goes on', () =>
    run(
      Effect.gen(function* () {
        const storeId = world.newStore()
        const [a, b] = [yield* openElsewhere(access(), storeId), yield* openElsewhere(access(), storeId)]
        yield* a.push(eventsFrom(0, 2, {}, 'a'))
        yield* b.push(eventsFrom(2, 2, {}, 'b'))
        yield* Effect.promise(() => world.upstream.kill())
        expect(yield* Effect.flip(b.push(eventsFrom(4, 1, {}, 'b')))).toBeInstanceOf(IsOfflineError)
        yield* Effect.promise(() => world.upstream.restart())
        // Writer a still has the head 2, and the server has forgotten the fence that would refuse it
        expect(yield* Effect.flip(a.push(eventsFrom(2, 1, {}, 'a')))).toBeInstanceOf(ServerAheadError)
        yield* b.push(eventsFrom(4, 1, {}, 'b'))
        expect((yield* logged(storeId)).map((_) => _.seqNum)).toEqual(numbers(1, 5))
      }),
    ))
})

test(
  'writers survive faults and kills of the log’s server: every event is in the log once, and no writer is stuck',
  () =>
    run(
      Effect.gen(function* () {
        console.log(`SEED=${seed}`)
        const random = randomFrom(seed)
        const storeId = world.newStore()
        const options = { ...access(), ...patience, retry: { initialDelay: 20, maxDelay: 200 } }
        const writers = yield* Effect.forEach(['a', 'b', 'c'], (name) =>
          Effect.flatMap(openElsewhere(options, storeId), (backend) => makeWriter(backend, name)),
        )
        const faults: Fault[] = [
          'drop request',
          'drop response',
          { status: 503 },
          { status: 500, applied: true },
          { hold: 'response', ms: 600 },
          { hold: 'request', ms: 600 },
        ]
        let met = 0
        world.bypass.inject(
          ({ method }) =>
            method === 'POST' && random() < 0.25 ? faults[Math.floor(random() * faults.length)] : undefined,
          () => met++,
        )
        const kills = Effect.gen(function* () {
          for (let i = 0; i < 3; i++) {
            yield* Effect.sleep(700)
            // Requests under way are lost with the server: after it forgot its fence, they must not arrive
            yield* Effect.promise(async () => {
              await world.upstream.kill()
              world.bypass.abandon()
              await world.upstream.restart()
            })
          }
        })
        yield* Effect.all([kills, ...writers.map((writer, i) => writer.write(25, i + 1))], { concurrency: 'unbounded' })
        yield* Effect.promise(() => world.bypass.settled())
        yield* checkLog(world.atUpstream(storeId), writers)
        console.log(`${met} faults met`)
        expect(met).toBeGreaterThan(5)
      }),
    ),
  60_000,
)
