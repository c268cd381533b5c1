// Many devices that lose the server at the same moment must not all come back at the same moment.
import { Effect } from '@livestore/utils/effect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { problemType } from '../../client/src/protocol/index.js'
import { eventually, follow, openElsewhere, run } from '../support/backend.ts'
import { eventsFrom } from '../support/events.ts'
import { startWorld, type World } from '../support/world.ts'

const READERS = 20

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

/** A reader's `fetch`. It records the times of its reads, and can refuse the next one as the Worker would. */
const makeAsking = () => {
  const reads: number[] = []
  let refusal: Response | undefined
  const asking: typeof fetch = async (input, init) => {
    if ((init?.method ?? 'GET') !== 'GET' || String(input).endsWith('/health')) return fetch(input, init)
    reads.push(performance.now())
    const refused = refusal
    refusal = undefined
    return refused ?? fetch(input, init)
  }
  const refuseOnce = (retryAfter: number) => {
    const body = {
      type: problemType('overloaded'),
      title: 'Overloaded',
      status: 503,
      _tag: 'OverloadedError',
      reason: 'waiting',
    }
    const headers = { 'content-type': 'application/problem+json', 'retry-after': String(retryAfter) }
    refusal = new Response(JSON.stringify(body), { status: 503, headers })
  }
  return { reads, asking, refuseOnce }
}

/** Readers that follow one store, each on a device of its own. With `retryAfter` the Worker refuses each first read. */
const gather = (storeId: string, retryAfter?: number) =>
  Effect.forEach(
    Array.from({ length: READERS }),
    () =>
      Effect.gen(function* () {
        const { reads, asking, refuseOnce } = makeAsking()
        if (retryAfter !== undefined) refuseOnce(retryAfter)
        const backend = yield* openElsewhere({ url: world.network.url, fetch: asking }, storeId)
        return { reads, ...(yield* follow(backend)) }
      }),
    { concurrency: 'unbounded' },
  )

const all = (what: string, holds: () => boolean) => eventually(what, holds, () => world.network.requests.length, 20_000)

const spanOf = (times: readonly number[]) => Math.max(...times) - Math.min(...times)

/** The largest number of times within any span of so many milliseconds. */
const densest = (times: readonly number[], ms: number) =>
  Math.max(...times.map((from) => times.filter((time) => time >= from && time < from + ms).length))

const report = (what: string, times: readonly number[]) =>
  console.log(
    `${what}: ${times.length} readers over ${Math.round(spanOf(times))} ms, at most ${densest(times, 200)} of them within 200 ms`,
  )

test('20 live readers that lose their connections at once come back over seconds, with about two requests each', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const writer = yield* openElsewhere(world.access('proxy'), storeId)
      yield* writer.push(eventsFrom(0, 1))
      const readers = yield* gather(storeId)
      yield* all(
        'every reader follows',
        () =>
          readers.every((_) => _.seqNums().length === 1) &&
          world.network.count({ live: 'sse', path: storeId }) === READERS,
      )

      for (const { reads } of readers) reads.splice(0)
      world.network.clear()
      world.network.abandon()
      yield* all(
        'every reader follows again',
        () =>
          world.network.requests.filter((_) => _.query.has('live') && _.path.includes(storeId) && _.status === 200)
            .length >= READERS,
      )
      const first = readers.map(({ reads }) => reads[0] ?? Number.NaN)
      report('cut at once, back', first)
      expect(spanOf(first)).toBeGreaterThan(1_000)
      expect(densest(first, 200)).toBeLessThanOrEqual(12)
      expect(readers.reduce((sum, { reads }) => sum + reads.length, 0)).toBeLessThanOrEqual(2.2 * READERS)

      yield* writer.push(eventsFrom(1, 1))
      yield* all('the next event everywhere', () => readers.every((_) => _.seqNums().length === 2))
    }),
  ))

test('20 readers with the same Retry-After of 2 s come back later than that, and at different times', () =>
  run(
    Effect.gen(function* () {
      const storeId = world.newStore()
      const writer = yield* openElsewhere(world.access('proxy'), storeId)
      yield* writer.push(eventsFrom(0, 1))
      const readers = yield* gather(storeId, 2)
      yield* all('every reader has the event', () => readers.every((_) => _.seqNums().length === 1))
      const [first, second] = [0, 1].map((i) => readers.map(({ reads }) => reads[i] ?? Number.NaN)) as [
        number[],
        number[],
      ]
      report('told to wait for 2 s, back', second)
      expect(Math.min(...second.map((time, i) => time - first[i]!))).toBeGreaterThanOrEqual(1_990)
      expect(spanOf(second) - spanOf(first)).toBeGreaterThan(300)
      expect(densest(second, 200)).toBeLessThanOrEqual(12)
    }),
  ))
