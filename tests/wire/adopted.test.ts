// A log that Headwater did not write. The index has one run of it, longer than any segment. Readers get it in pages all the same.
import { beforeAll, describe, expect, test } from 'vitest'
import { startWorker } from '../harness/index.ts'
import { numbers } from '../support/events.ts'
import { chain, json, type Page, type Problem, readPage, Store, walk } from '../support/store.ts'
import { upstreams, useParts } from './parts.ts'

const MIB = 2 ** 20
const EVENTS = 6_000

const seqNums = (pages: readonly Page[]) => pages.flatMap(({ events }) => events.map(({ seqNum }) => seqNum))

describe.each(upstreams)('an adopted log of 12 MB, on $name', ({ start }) => {
  const parts = useParts(start)
  const store = new Store(parts, { name: 'adopted' })
  const sent = () => parts.proxy.requests.reduce((sum, request) => sum + request.sent, 0)
  beforeAll(async () => {
    const headers = { 'content-type': 'application/json' }
    await fetch(store.upstreamUrl, { method: 'PUT', headers })
    for (let after = 0; after < EVENTS; after += 500) {
      await fetch(store.upstreamUrl, {
        method: 'POST',
        headers,
        body: JSON.stringify(chain(after, 500, 'x'.repeat(2_000))),
      })
    }
    // After adoption, clients push to it as to any other.
    await store.pushed(chain(EVENTS, 5))
  }, 60_000)

  test('comes in pages, and the second reader finds each of them in the cache', async () => {
    parts.proxy.clear()
    const cold = await walk(store)
    expect(seqNums(cold)).toEqual(numbers(1, EVENTS + 5))
    expect(cold.length).toBeGreaterThan(11)
    for (const { bytes } of cold) expect(bytes).toBeLessThan(1.1 * MIB)
    expect(cold.map(({ cache }) => cache)).toEqual(['MISS', ...cold.slice(2).map(() => 'HIT'), 'BYPASS'])
    expect(cold.map(({ query }) => query)).toEqual(cold.map(({ query }) => query).sort())
    console.log(
      `${cold.length} pages of ${cold.reduce((sum, { bytes }) => sum + bytes, 0)} bytes; the upstream sent ${sent()}`,
    )
    parts.proxy.clear()
    const warm = await walk(store)
    expect(seqNums(warm)).toEqual(numbers(1, EVENTS + 5))
    expect(warm.slice(0, -1).map(({ cache }) => cache)).toEqual(warm.slice(1).map(() => 'HIT'))
    expect(sent()).toBe(warm.at(-1)?.bytes)
  })

  test('can be read on from the end of each page, also without a cache', async () => {
    const pages = await walk(store)
    const bare = await startWorker({ upstreamUrl: parts.proxy.url, cache: false })
    try {
      const elsewhere = new Store({ worker: bare, upstream: parts.upstream }, store)
      await elsewhere.request('HEAD')
      parts.proxy.clear()
      const [first, rest, ...more] = await walk(elsewhere)
      // Without a cache, the Worker does not read the run from its beginning for each page.
      expect([first?.cache, rest?.cache, rest?.upToDate, more, parts.proxy.requests.length]).toEqual([
        'MISS',
        'BYPASS',
        true,
        [],
        2,
      ])
      expect(seqNums([first!, rest!])).toEqual(numbers(1, EVENTS + 5))
      for (const one of [pages[1], pages[5], pages.at(-2)]) {
        expect(seqNums(await walk(elsewhere, one?.query))).toEqual(numbers(one?.events[0]?.seqNum ?? 0, EVENTS + 5))
      }
    } finally {
      await bare.stop()
    }
  })

  test('has offsets inside the run that the upstream and live reads refuse', async () => {
    const interior = (await walk(store))[2]?.next ?? ''
    expect(interior).toMatch(/^-1~hw\d{16}\.\d+$/)
    // A client in hybrid mode receives this, and begins from the start.
    expect((await fetch(`${store.upstreamUrl}?offset=${interior}`)).status).toBe(400)
    for (const live of ['sse', 'long-poll']) {
      const response = await store.read(`offset=${interior}&live=${live}`)
      expect([response.status, (await json<Problem>(response))._tag]).toEqual([400, 'BadRequestError'])
    }
    for (const forged of [interior.replace(/\d+$/, '7'), '-1~hw0000000000009000.9000']) {
      for (let round = 0; round < 2; round++) expect((await store.read(`offset=${forged}`)).status).toBe(400)
    }
    expect((await readPage(store, `offset=${interior}`)).cache).toBe('HIT')
  })

  test('comes whole in one answer, from its start and from an offset inside the run', async () => {
    const third = (await walk(store))[2]!
    const from = third.events[0]!.seqNum
    expect(third.query).toContain('~hw')
    for (const [query, first] of [
      ['offset=-1', 1],
      [third.query, from],
      ['after=0', 1],
    ] as const) {
      const page = await readPage(store, `${query}&whole=true`)
      // This server may answer in pages of its own.
      expect([page.upToDate, page.cache], query).toEqual([true, 'BYPASS'])
      expect(seqNums([page]), query).toEqual(numbers(first, EVENTS + 5))
    }
  })
})
