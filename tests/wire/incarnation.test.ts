// An incarnation has an address of its own. There it is a plain stream of the protocol: what was read once stays true, and after a
// reset it is gone.
import { describe, expect, test } from 'vitest'
import { fenceHeader, JSON_TYPE } from '../../client/src/protocol/index.js'
import { numbers } from '../support/events.ts'
import { tryUpgrade } from '../support/socket.ts'
import { chain, type Incarnation, json, type Problem, readPage, Store, walk } from '../support/store.ts'
import { logs, useParts } from './parts.ts'

/** Small segments, so that a short history has many. */
const SIZE = { SEGMENT_BYTES: '2000', SEGMENT_EVENTS: '20' }

const nextOffset = (response: Response) => response.headers.get('stream-next-offset') ?? ''
const backendId = (response: Response) => response.headers.get('livestore-backend-id')
const seqs = async (reader: Store | Incarnation) =>
  (await walk(reader)).flatMap((page) => page.events.map((event) => event.seqNum))

const reset = async (store: Store) => expect((await store.request('DELETE')).status).toBe(204)

/** Status and `_tag`. */
const refusal = async (response: Response) => [response.status, (await json<Problem>(response))._tag]
const GONE = [410, 'IncarnationGoneError']
const UNKNOWN = [410, 'OffsetGoneError']

describe.each(logs)('with $name', ({ name, start, isBuiltIn }) => {
  const parts = useParts(start, SIZE)

  test('the store’s URL points to the address of its incarnation, which reads the same', async () => {
    const store = new Store(parts, { tenant: 'a/b c', name: 'ä' })
    for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
    const incarnation = await store.currentIncarnation()
    const path = new URL(incarnation.url).pathname
    const answers = [
      await store.request('HEAD'),
      await store.read(),
      await store.read(`offset=${nextOffset(await store.request('HEAD'))}`),
      await store.read('after=10'),
      await store.read('offset=-1&live=long-poll'),
    ]
    expect(answers.map(({ status, headers }) => [status, headers.get('content-location')])).toEqual(
      answers.map(() => [200, path]),
    )
    expect(await seqs(incarnation)).toEqual(numbers(1, 60))
    expect((await incarnation.request('HEAD')).headers.get('livestore-head')).toBe('60')
    expect((await incarnation.request('PUT')).status).toBe(200)
    expect((await incarnation.push(chain(60, 2))).status).toBe(200)
    expect(await seqs(store)).toEqual(numbers(1, 62))
  })

  test('a sealed page is final at the incarnation’s address, and asked for again at the store’s URL', async () => {
    const store = new Store(parts)
    for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
    const incarnation = await store.currentIncarnation()
    const caching = async (reader: Store | Incarnation) => (await reader.read()).headers.get('cache-control')
    expect(await caching(store)).toBe('private, no-cache')
    expect(await caching(incarnation)).toBe('private, max-age=31536000, immutable')
    const etag = (await store.read()).headers.get('etag') ?? ''
    expect((await store.read('offset=-1', { 'if-none-match': etag })).status).toBe(304)
    await reset(store)
    await store.pushed(chain(0, 1))
    const again = await store.read('offset=-1', { 'if-none-match': etag })
    expect([again.status, (await json<unknown[]>(again)).length]).toEqual([200, 2])
  })

  test('after a reset every request to the old address says that it is gone, and names the new one', async () => {
    const store = new Store(parts)
    for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
    const old = await store.currentIncarnation()
    const { next } = await readPage(old, 'offset=-1')
    await reset(store)
    for (const query of [
      'offset=-1',
      `offset=${next}`,
      'offset=now',
      'after=3',
      `offset=${next}&live=long-poll`,
      'offset=-1&live=sse',
    ]) {
      const response = await old.read(query)
      expect([query, backendId(response)]).toEqual([query, backendId(await store.request('HEAD'))])
      expect(await refusal(response)).toEqual(GONE)
    }
    for (const method of ['HEAD', 'PUT']) expect((await old.request(method)).status).toBe(410)
    expect(await refusal(await old.push(chain(60, 1)))).toEqual(GONE)
    expect(await refusal(await old.push(chain(0, 1)))).toEqual(GONE)
    expect((await tryUpgrade(old.url)).status).toBe(400)
    expect(await seqs(store)).toEqual([])
  })

  test('the tag of a page is of its incarnation, also where both logs have as many bytes', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 1, { log: 'old' }))
    const etag = (await store.read()).headers.get('etag') ?? ''
    expect((await store.read('offset=-1', { 'if-none-match': etag })).status).toBe(304)
    await reset(store)
    await store.pushed(chain(0, 1, { log: 'new' }))
    const again = await store.read('offset=-1', { 'if-none-match': etag })
    expect([again.status, (await json<{ args?: unknown }[]>(again)).at(1)?.args]).toEqual([200, { log: 'new' }])
  })

  test('a deleted incarnation does not come back, and the store begins another one', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    const old = await store.currentIncarnation()
    expect((await old.request('DELETE')).status).toBe(204)
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) expect((await old.request(method)).status).toBe(404)
    expect(await store.hasLog()).toBe(false)
    expect(await seqs(store)).toEqual([])
    const refused = await store.push(chain(3, 1), { 'livestore-backend-id': old.url.split('/').at(-1) ?? '' })
    expect([refused.status, await store.hasLog()]).toEqual([409, true])
    await store.pushed(chain(0, 1))
    expect(await refusal(await old.request('DELETE'))).toEqual(GONE)
    expect(await seqs(store)).toEqual([1])
    expect(await seqs(await store.currentIncarnation())).toEqual([1])
  })

  test('an address of a store without a stream does not exist, and no request there creates one', async () => {
    const store = new Store(parts)
    const nowhere = store.incarnation('6f0c1d9e')
    const requests = [
      () => nowhere.read(),
      () => nowhere.read('offset=now&live=long-poll'),
      () => nowhere.read('offset=-1&live=sse'),
      () => nowhere.request('PUT'),
      () => nowhere.request('HEAD'),
    ]
    for (const request of requests) expect((await request()).status).toBe(404)
    expect(await store.hasLog()).toBe(false)
  })

  test('an address with a malformed backend id, or another one in the header, is refused by name', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 1))
    const { url } = await store.currentIncarnation()
    for (const id of ['%20', 'x'.repeat(1025), '%E0%A4%A', 'é'])
      expect(await json(await fetch(url.replace(/[^/]*$/, id)))).toMatchObject({ status: 400, field: 'backendId' })
    const headers = { ...JSON_TYPE, 'livestore-backend-id': 'another' }
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(chain(1, 1)) })
    expect(await json(response)).toMatchObject({ status: 400, field: 'livestore-backend-id' })
    const deletion = await fetch(url.replace('/v1/incarnation/', '/v1/adopt/'), { method: 'POST' })
    expect(deletion.status).toBe(404)
  })

  test('an offset from before a reset is gone at both addresses, and never answered with torn JSON', async () => {
    const store = new Store(parts)
    const offsets: string[] = []
    for (let head = 0; head < 12; head++)
      offsets.push(nextOffset(await store.pushed(chain(head, 1, { text: 'x'.repeat(head * 37) }))))
    const old = await store.currentIncarnation()
    await reset(store)
    for (const pushed of [0, 1, 40]) {
      if (pushed > 0) await store.pushed(chain(pushed === 1 ? 0 : 1, pushed === 1 ? 1 : 39, { other: 'y'.repeat(91) }))
      for (const offset of offsets) {
        for (const live of ['', '&live=long-poll', '&live=sse']) {
          const query = `offset=${offset}${live}`
          expect(await refusal(await old.read(query))).toEqual(GONE)
          const answer = await store.read(query)
          // The Node reference server has no torn offsets: it goes on with the next whole message.
          if (name === 'the Node reference server' && answer.status === 200) await answer.body?.cancel()
          else expect([query, ...(await refusal(answer))]).toEqual([query, ...UNKNOWN])
        }
      }
    }
  })

  test.skipIf(isBuiltIn).each(['replaced', 'altered'])(
    'a log that is %s is not the store’s, and is never answered with torn JSON',
    async (reason) => {
      const store = new Store(parts)
      const ends = [nextOffset(await store.pushed(chain(0, 1))), nextOffset(await store.pushed(chain(1, 3)))]
      const incarnation = await store.currentIncarnation()
      const before = await (await fetch(`${store.upstreamUrl}?offset=-1`)).text()
      const recreate = async (body: string) => {
        await fetch(store.upstreamUrl, { method: 'DELETE' })
        expect((await fetch(store.upstreamUrl, { method: 'PUT', headers: JSON_TYPE, body })).status).toBe(201)
      }
      const id = reason === 'replaced' ? 'another' : (incarnation.url.split('/').at(-1) ?? '')
      const header = { livestore: { backendId: id, version: 1 } }
      await recreate(JSON.stringify([header, ...chain(0, 9, { other: 'x'.repeat(77) })]))
      expect((await store.request('HEAD')).headers.get('livestore-problem')).toContain(reason)
      for (const query of ['offset=-1', 'offset=now', 'after=0', 'whole=true', ...ends.map((end) => `offset=${end}`)]) {
        const refused = await incarnation.read(query)
        expect([query, refused.status, await refused.json()]).toMatchObject([query, 503, { _tag: 'StoreHaltedError' }])
        const answer = await store.read(query)
        const identity = ['livestore-backend-id', 'content-location', 'etag'].map((name) => answer.headers.get(name))
        if (answer.status === 200) expect([query, ...identity]).toEqual([query, null, null, null])
        else expect([410, 503]).toContain(answer.status)
        expect(Array.isArray(await answer.json()) || answer.status !== 200).toBe(true)
      }
      // The log comes back. The reads themselves make the Sequencer look.
      await recreate(before)
      const read = async () => (await incarnation.read('offset=-1')).status
      await expect.poll(read, { timeout: 60_000, interval: 500 }).toBe(200)
      expect((await store.read('offset=-1')).headers.get('livestore-backend-id')).not.toBe(null)
    },
    90_000,
  )

  test.skipIf(isBuiltIn)(
    'sealed history of a store whose log was replaced comes from the cache, also after a restart',
    async () => {
      const store = new Store(parts)
      for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
      const incarnation = await store.currentIncarnation()
      const [first] = await walk(incarnation)
      await fetch(store.upstreamUrl, { method: 'DELETE' })
      const body = JSON.stringify([{ livestore: { backendId: 'another', version: 1 } }, ...chain(0, 2)])
      expect((await fetch(store.upstreamUrl, { method: 'PUT', headers: JSON_TYPE, body })).status).toBe(201)
      await parts.worker.restart()
      expect((await store.request('HEAD')).headers.get('livestore-problem')).toContain('replaced')
      const page = await readPage(incarnation, 'offset=-1')
      expect([page.cache, page.events]).toEqual(['HIT', first?.events])
      const unvouched = await store.read('whole=true')
      expect([unvouched.status, unvouched.headers.get('livestore-problem')]).toEqual([
        200,
        'store-halted; reason=replaced',
      ])
    },
  )

  test.skipIf(isBuiltIn)('an offset that only a direct writer made is read from', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    const ends: string[] = []
    for (const head of [3, 5, 7]) {
      const headers = { ...JSON_TYPE, ...fenceHeader(head) }
      const body = JSON.stringify(chain(head, 2))
      const answer = await fetch(store.upstreamUrl, { method: 'POST', headers, body })
      ends.push(nextOffset(answer))
    }
    // The Sequencer takes the three appends as one, and its index knows the last end only.
    expect((await store.push(chain(9, 1))).status).toBe(200)
    const incarnation = await store.currentIncarnation()
    for (const reader of [store, incarnation]) {
      for (const [i, end] of ends.entries()) {
        const { events } = await readPage(reader, `offset=${end}`)
        expect(events.map((_) => _.seqNum)).toEqual(numbers(6 + 2 * i, 10))
        const live = await reader.read(`offset=${end}&live=long-poll`)
        expect([live.status, (await json<unknown[]>(live)).length]).toEqual([200, 5 - 2 * i])
      }
    }
  })

  test.skipIf(isBuiltIn)('an offset at the tail is read from while the log grows behind it', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    const incarnation = await store.currentIncarnation()
    const append = async (head: number) => {
      const headers = { ...JSON_TYPE, ...fenceHeader(head) }
      return nextOffset(
        await fetch(store.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(chain(head, 2)) }),
      )
    }
    const end = await append(3)
    // No index knows the offset. The Worker reads from there, finds nothing, and asks for the tail.
    const look = parts.proxy.next({ method: 'HEAD', path: store.name }, 'hold request')
    const reading = incarnation.read(`offset=${end}`)
    await look.met
    await append(5)
    look.release()
    expect((await reading).status).toBe(200)
  })
})
