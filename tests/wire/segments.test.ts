// Sealed history: the index says where it is cut, the edge cache keeps it, and a read can resume from any offset.
import { describe, expect, test } from 'vitest'
import { fenceHeader, JSON_TYPE } from '../../client/src/protocol/index.js'
import { startRustUpstream } from '../harness/index.ts'
import { numbers } from '../support/events.ts'
import { chain, json, type Page, type Problem, readPage, Store, walk } from '../support/store.ts'
import { logs, type Parts, useParts } from './parts.ts'

/** Small segments, so that a short history has many. */
const SIZE = { SEGMENT_BYTES: '2000', SEGMENT_EVENTS: '20' }

const seqs = (pages: readonly Page[]) => pages.flatMap((_) => _.events.map((event) => event.seqNum))
const caches = (pages: readonly Page[]) => pages.map((_) => _.cache)

/** A store with a history of so many events, a few in each push, and the end of each push. */
const filled = async (parts: Parts, events: number, perPush = 7, args?: unknown) => {
  const store = new Store(parts)
  const ends: { head: number; offset: string }[] = []
  for (let head = 0; head < events; ) {
    const count = Math.min(perPush, events - head)
    const response = await store.pushed(chain(head, count, args))
    head += count
    ends.push({ head, offset: response.headers.get('stream-next-offset') ?? '' })
  }
  return { store, ends }
}

describe.each(logs)('with $name', ({ start, isBuiltIn }) => {
  const parts = useParts(start, SIZE)

  test('a history is cut into segments, which the second reader finds in the cache', async () => {
    const { store } = await filled(parts, 100)
    const cold = await walk(store)
    expect(seqs(cold)).toEqual(numbers(1, 100))
    expect(cold.length).toBeGreaterThan(4)
    expect(cold[0]?.cache).toBe('MISS')
    expect(cold.at(-1)?.cache).toBe('BYPASS')
    for (const { events } of cold.slice(0, -1)) expect(events.length).toBeLessThan(20 + 7)

    if (!isBuiltIn) parts.proxy.clear()
    const warm = await walk(store)
    expect(seqs(warm)).toEqual(numbers(1, 100))
    expect(caches(warm)).toEqual([...warm.slice(0, -1).map(() => 'HIT'), 'BYPASS'])
    if (!isBuiltIn) expect(parts.proxy.requests.map((_) => _.query.get('offset'))).toEqual([warm.at(-2)?.next])
  })

  test('a read can go on from the offset of every push', async () => {
    const { store, ends } = await filled(parts, 60)
    for (let round = 0; round < 2; round++) {
      for (const { head, offset } of ends)
        expect(seqs(await walk(store, `offset=${offset}`))).toEqual(numbers(head + 1, 60))
    }
  })

  test('a read with after=<seqNum> goes on from any event', async () => {
    const { store, ends } = await filled(parts, 60)
    for (const after of [0, 1, 6, 7, 8, 20, 21, 27, 28, 34, 41, 42, 43, 59, 60]) {
      const pages = await walk(store, `after=${after}`)
      const begin = Math.max(0, ...ends.map((_) => _.head).filter((head) => head <= after))
      expect(seqs(pages)).toEqual(numbers(begin + 1, 60))
    }
    expect((await readPage(store, 'after=60')).upToDate).toBe(true)
    expect(seqs([await readPage(store, `after=3&offset=${ends[2]?.offset}`)])[0]).toBe(22)
  })
})

describe('on the Rust server', () => {
  const parts = useParts(startRustUpstream, SIZE)

  test('a segment’s headers say that it is final and name its backend, and the tail’s say that it is not', async () => {
    const { store } = await filled(parts, 60)
    for (const expected of ['MISS', 'HIT']) {
      const first = await readPage(store, 'offset=-1')
      expect(first.cache).toBe(expected)
      expect(Object.fromEntries(first.headers)).toMatchObject({
        'cache-control': 'private, no-cache',
        'content-type': 'application/json',
        'livestore-backend-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
        'livestore-head': '60',
        'stream-next-offset': expect.any(String),
        'server-timing': expect.stringMatching(/^sequencer;dur=\d+, history;dur=\d+, total;dur=\d+$/),
        'access-control-allow-origin': '*',
        vary: expect.stringContaining('authorization'),
      })
      expect(first.upToDate).toBe(false)
    }
    const atTail = (await walk(store)).at(-1)
    expect([atTail?.upToDate, atTail?.headers.get('cache-control')]).toEqual([true, 'no-store'])
    await store.pushed(chain(60, 1))
    const { headers } = await readPage(store, `offset=${(await walk(store)).at(-2)?.next}`)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('server-timing')).toMatch(/^sequencer;dur=\d+, upstream;dur=\d+, total;dur=\d+$/)
  })

  test('a read of a segment that the reader already has is 304', async () => {
    const { store } = await filled(parts, 60)
    const tag = (await readPage(store, 'offset=-1')).headers.get('etag') ?? ''
    expect(tag).toMatch(/^"[0-9a-f]{32}"$/)
    for (const condition of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      const response = await store.read('offset=-1', { 'if-none-match': condition })
      expect([response.status, await response.text(), response.headers.get('x-cache')]).toEqual([304, '', 'HIT'])
      expect(response.headers.get('stream-next-offset')).not.toBeNull()
      expect(response.headers.get('etag')).toBe(tag)
    }
    expect((await store.read('offset=-1', { 'if-none-match': '"other"' })).status).toBe(200)
  })

  test('events longer than a segment, and many short events, make segments of a sane size', async () => {
    const { store: huge } = await filled(parts, 6, 1, { text: 'x'.repeat(5_000) })
    expect((await walk(huge)).map((_) => _.events.length)).toEqual([1, 1, 1, 1, 1, 1])
    const { store: tiny } = await filled(parts, 100, 100, 1)
    await tiny.pushed(chain(100, 1, 1))
    expect((await walk(tiny)).map((_) => _.events.length)).toEqual([100, 1])
  })

  test('a read from an offset that the index does not have comes from the log itself', async () => {
    const { store, ends } = await filled(parts, 60)
    const offset = ends[1]?.offset ?? ''
    // Another writer's appends. The Sequencer takes them for one
    const appended = async (parent: number) => {
      const headers = { ...JSON_TYPE, ...fenceHeader(parent) }
      const body = JSON.stringify(chain(parent, 1))
      const response = await fetch(store.upstreamUrl, { method: 'POST', headers, body })
      expect(response.status).toBeLessThan(300)
      return response.headers.get('stream-next-offset') ?? ''
    }
    const theirs = await appended(60)
    for (const parent of numbers(61, 80)) await appended(parent)
    await store.request('HEAD')
    await store.pushed(chain(81, 40))
    const read = await readPage(store, `offset=${theirs}`)
    expect([read.cache, read.upToDate, seqs([read])]).toEqual(['BYPASS', true, numbers(62, 121)])
    expect(seqs(await walk(store, `offset=${offset}`))).toEqual(numbers(15, 121))
    // No offset at all
    const refused = await store.read('offset=12')
    expect([refused.status, (await json<Problem>(refused))._tag]).toEqual([400, 'BadRequestError'])
  })

  test('after a reset no read receives events of the previous backend', async () => {
    const { store, ends } = await filled(parts, 60)
    const before = await walk(store)
    await store.request('DELETE')
    const batch = chain(0, 60, { id: 'new' })
    await store.pushed(batch)
    const after = await walk(store)
    expect(after.flatMap((_) => _.events)).toEqual(batch)
    const idOf = (pages: readonly Page[]) => new Set(pages.map((_) => _.headers.get('livestore-backend-id')))
    expect([idOf(before).size, idOf(after).size]).toEqual([1, 1])
    expect(idOf(after)).not.toEqual(idOf(before))
    // An old offset may mean nothing now. The answer names its backend
    const old = await store.read(`offset=${ends[2]?.offset}`)
    expect(old.headers.get('livestore-backend-id')).toBe([...idOf(after)][0])
  })

  test('a read with after=<seqNum> beyond the end is refused, and the refusal names the backend', async () => {
    const { store } = await filled(parts, 30)
    for (const query of ['after=31', 'after=31&live=sse', 'after=9007199254740991']) {
      const response = await store.read(query)
      expect(response.status).toBe(400)
      expect(response.headers.get('livestore-backend-id')).toMatch(/^[0-9a-f-]{36}$/)
      expect(await response.json()).toMatchObject({ _tag: 'BadRequestError', field: 'after', head: 30 })
    }
    const nothing = new Store(parts)
    expect((await readPage(nothing, 'after=0')).upToDate).toBe(true)
    expect((await nothing.read('after=1')).status).toBe(400)
  })

  test('a read from a seqNum finds events that direct-mode writers append past the Sequencer', async () => {
    const { store } = await filled(parts, 30)
    const headers = { ...JSON_TYPE, ...fenceHeader(30) }
    await fetch(store.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(chain(30, 5)) })
    expect(seqs(await walk(store, 'after=33'))).toEqual(numbers(31, 35))
  })

  const appendDirectly = async (store: Store, messages: unknown[], fence: Record<string, string> = {}) => {
    const headers = { 'content-type': 'application/json', ...fence }
    expect(
      (await fetch(store.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(messages) })).status,
    ).toBeLessThan(300)
  }

  // The Worker's memory of the tip is good for 30 s. These two tests wait for that together. Each takes its own `expect`,
  // because the shared one loses its test as soon as the other test ends.
  test.concurrent('events that direct-mode writers append past the Sequencer are in its head and index soon after a read', async ({
    expect,
  }) => {
    const { store } = await filled(parts, 30)
    await walk(store)
    await appendDirectly(store, chain(30, 40), fenceHeader(30))
    // The last page shows the log's end, which the Sequencer does not know. It looks at once, and nobody waits for that: the
    // upstream does not answer it for now.
    const page = parts.proxy.next({ method: 'GET', path: store.name }, 'hold request')
    const held = parts.proxy.next({ method: 'GET', path: store.name }, 'hold request')
    const walked = walk(store)
    await page.met
    page.release()
    expect(seqs(await walked)).toEqual(numbers(1, 70))
    await held.met
    const head = async () => {
      const { cache, headers } = await readPage(store, 'offset=-1')
      expect(cache).toBe('HIT')
      return headers.get('livestore-head')
    }
    expect(await head()).toBe('30')
    held.release()
    await expect.poll(head, { timeout: 40_000, interval: 1_000 }).toBe('70')
    const pages = await walk(store)
    expect([seqs(pages), pages.at(-1)?.upToDate]).toEqual([numbers(1, 70), true])
    // The index has all of them.
    expect(caches(pages)).not.toContain('BYPASS')
  }, 90_000)

  test.concurrent('many reads of a halted store cost one look at the log', async ({ expect }) => {
    const { store } = await filled(parts, 60)
    await walk(store)
    await appendDirectly(store, [{ no: 'event' }])
    const tail = async () => (await readPage(store, `offset=${(await walk(store)).at(-1)?.next}`)).upToDate
    expect(await tail()).toBe(true)
    const asked = () => parts.proxy.requests.filter((_) => _.path.endsWith(`/${store.name}`)).length
    const before = asked()
    const sealed = async () => {
      expect((await readPage(store, 'offset=-1')).cache).toBe('HIT')
      return asked()
    }
    await expect.poll(sealed, { timeout: 40_000, interval: 1_000 }).toBeGreaterThan(before)
    expect((await store.push(chain(60, 1))).status).toBe(503)
    const after = asked()
    for (let read = 0; read < 20; read++) expect(await sealed()).toBe(after)
  }, 60_000)

  test.each([
    ['a broken chain', (bytes: string) => bytes.replace('"id":"9"', '"id":"X"').replace('"seqNum":9,', '"seqNum":8,')],
    ['a log of the same shape', (bytes: string) => bytes.replaceAll('"clientId":"client', '"clientId":"cliemt')],
  ])('%s in place of the appended events is not kept in the cache', async (_, forge) => {
    const { store, ends } = await filled(parts, 60)
    // Another tool recreates the stream with as many bytes
    const bytes = await (await fetch(`${store.upstreamUrl}?offset=-1`)).text()
    await fetch(store.upstreamUrl, { method: 'DELETE' })
    const forged = forge(bytes)
    expect([forged === bytes, forged.length]).toEqual([false, bytes.length])
    await fetch(store.upstreamUrl, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: forged })
    for (let round = 0; round < 2; round++) {
      const read = await readPage(store, 'offset=-1')
      expect([read.cache, read.upToDate, read.events.length]).toEqual(['BYPASS', true, 60])
    }
    expect(ends).not.toEqual([])
  })

  test('many readers that miss the same history at once cost the upstream hardly more than one', async () => {
    const { store } = await filled(parts, 200)
    const history = Buffer.byteLength(await (await fetch(`${store.upstreamUrl}?offset=-1`)).text())
    parts.proxy.clear()
    const walks = await Promise.all(numbers(1, 20).map(() => walk(store)))
    for (const pages of walks) expect(seqs(pages)).toEqual(numbers(1, 200))
    const tail = walks[0]?.at(-1)?.bytes ?? 0
    const sent = parts.proxy.requests.reduce((sum, _) => sum + _.sent, 0)
    console.log(`20 cold walks at once: ${sent} bytes sent by the upstream for a history of ${history}`)
    expect(sent).toBeLessThanOrEqual(1.5 * history + 20 * tail)
  })
})
