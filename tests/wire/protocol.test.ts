// Requests of a plain client of the protocol. The Worker honors what they ask, or refuses it by name: it drops nothing silently.
import { describe, expect, test } from 'vitest'
import { headerMessage } from '../../client/src/protocol/index.js'
import { startRustUpstream, startWorker } from '../harness/index.ts'
import { eventsIn, numbers } from '../support/events.ts'
import { chain, type Event, event, json, readPage, Store, walk } from '../support/store.ts'
import { logs, useParts } from './parts.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const TIME = '2099-01-02T03:04:05Z'

const seqNums = (events: readonly Event[]) => events.map(({ seqNum }) => seqNum)

/** Status and field of a refusal. */
const refusal = async (response: Response) => [response.status, (await json<{ field?: string }>(response)).field]

const bodyOf = (...chunks: string[]): RequestInit => ({
  body: new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk))
      controller.close()
    },
  }),
  // A body without a length, so that the client sends it in chunks
  duplex: 'half',
})

describe.each(logs)('a plain client, on $name', ({ start, isBuiltIn }) => {
  const parts = useParts(start, { SEGMENT_EVENTS: '5' })
  const store = () => new Store(parts)
  const exists = (s: Store) => s.hasLog()
  const close = (s: Store) =>
    fetch(isBuiltIn ? s.url : s.upstreamUrl, { method: 'POST', headers: { 'stream-closed': 'true' } })

  test('whose PUT has a body is refused, and no stream is created', async () => {
    const s = store()
    const events = JSON.stringify(chain(0, 2))
    for (const init of [{ body: events }, { body: '{}' }, { body: '[1]' }, { body: ' ' }, bodyOf(events)]) {
      const refused = await s.request('PUT', { headers: JSON_TYPE, ...init })
      expect(await refusal(refused)).toEqual([400, 'body'])
    }
    // Larger than what a client sends before it reads
    expect(await refusal(await s.request('PUT', { headers: JSON_TYPE, body: 'x'.repeat(3e6) }))).toEqual([400, 'body'])
    expect(await exists(s)).toBe(false)
    // Protocol §9.1.3: an empty array means no messages.
    expect((await s.request('PUT', { headers: JSON_TYPE, body: ' [] ' })).status).toBe(201)
    // A body without a length may hold nothing.
    expect((await s.request('PUT', { headers: JSON_TYPE, ...bodyOf() })).status).toBe(200)
    expect(await s.events()).toEqual([])
  })

  test('whose PUT asks for another kind of stream is refused by name, before and after there is a stream', async () => {
    const s = store()
    for (const isCreated of [false, true]) {
      if (isCreated) await s.pushed(chain(0, 1))
      for (const [headers, status, field] of [
        [{ 'content-type': 'text/plain' }, 409, 'content-type'],
        [{ 'stream-ttl': '60' }, 409, 'stream-ttl'],
        [{ 'stream-ttl': '060' }, 400, 'stream-ttl'],
        [{ 'stream-expires-at': TIME }, 409, 'stream-expires-at'],
        [{ 'stream-expires-at': 'soon' }, 400, 'stream-expires-at'],
        [{ 'stream-ttl': '60', 'stream-expires-at': TIME }, 400, 'stream-ttl'],
        [{ 'stream-closed': 'true' }, 409, 'stream-closed'],
        [{ 'stream-forked-from': '/v1/stream/acme/other' }, 501, 'stream-forked-from'],
        [{ 'stream-fork-offset': '1' }, 400, 'stream-fork-offset'],
        [{ 'stream-fork-sub-offset': '1' }, 400, 'stream-fork-sub-offset'],
        [{ 'stream-seq': '1' }, 400, 'stream-seq'],
        [{ 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }, 400, 'producer-id'],
        [{ 'if-none-match': '*' }, 400, 'if-none-match'],
      ] as const) {
        const refused = await s.request('PUT', { headers: headers as Record<string, string> })
        expect(await refusal(refused), JSON.stringify(headers)).toEqual([status, field])
        expect(refused.headers.get('livestore-problem')).toMatch(/^(config-mismatch|not-implemented|bad-request)$/)
      }
      expect(await exists(s)).toBe(isCreated)
    }
    for (const headers of [
      {},
      JSON_TYPE,
      { 'content-type': 'APPLICATION/json; charset=utf-8' },
      { 'stream-closed': 'false' },
    ])
      expect((await s.request('PUT', { headers: headers as Record<string, string> })).status).toBe(200)
  })

  test('whose PUT is accepted learns where the stream is, and of what type', async () => {
    for (const [tenant, name, names] of [
      ['acme', `plain-${start.name}`, `acme/plain-${start.name}`],
      ['a/b', `user@x ${start.name}`, `a%2Fb/user%40x%20${start.name}`],
      ['acme', `long-${start.name}-${'é'.repeat(200)}`, `acme/long-${start.name}-${'%C3%A9'.repeat(200)}`],
    ] as const) {
      const s = new Store(parts, { tenant, name })
      for (const status of [201, 200]) {
        const created = await s.request('PUT')
        expect(created.status).toBe(status)
        const id = created.headers.get('livestore-backend-id')
        expect(created.headers.get('location')).toBe(`${parts.worker.url}/v1/incarnation/${names}/${id}`)
        expect(created.headers.get('content-type')).toBe('application/json')
        expect(created.headers.get('stream-closed')).toBeNull()
      }
    }
    if (isBuiltIn) return
    // A log without a header has an id that is no plain word.
    const s = store()
    await fetch(s.upstreamUrl, { method: 'PUT', headers: JSON_TYPE, body: JSON.stringify(chain(0, 1)) })
    const { headers } = await s.request('PUT')
    expect(headers.get('location')).toBe(`${parts.worker.url}/v1/incarnation/acme/${s.name}/path%3Aacme%2F${s.name}`)
  })

  test('whose POST has headers that no store honors is refused by name, and nothing is appended', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
    for (const [headers, field] of [
      [producer, 'producer-id'],
      [{ 'producer-epoch': '0' }, 'producer-epoch'],
      [{ 'producer-seq': 'x' }, 'producer-seq'],
      [{ 'stream-seq': '0000000000000001' }, 'stream-seq'],
      [{ 'stream-closed': 'true' }, 'stream-closed'],
      [{ 'stream-closed': 'TRUE', ...producer }, 'stream-closed'],
      [{ 'stream-ttl': '60' }, 'stream-ttl'],
      [{ 'stream-expires-at': TIME }, 'stream-expires-at'],
      [{ 'stream-forked-from': '/x' }, 'stream-forked-from'],
      [{ 'if-match': '"x"' }, 'if-match'],
    ] as const) {
      const refused = await s.push(chain(1, 1), headers as Record<string, string>)
      expect(await refusal(refused), JSON.stringify(headers)).toEqual([400, field])
    }
    // A close without a body may carry no producer, either.
    expect(await refusal(await s.request('POST', { headers: { 'stream-closed': 'true', ...producer } }))).toEqual([
      400,
      'producer-id',
    ])
    for (const method of ['DELETE', 'POST']) {
      const url = method === 'POST' ? s.url.replace('/v1/stream/', '/v1/adopt/') : s.url
      for (const name of ['stream-closed', 'stream-ttl', 'livestore-backend-id', 'if-match'])
        expect(await refusal(await fetch(url, { method, headers: { [name]: 'true' } }))).toEqual([400, name])
    }
    expect(await s.events()).toEqual(chain(0, 1))
    // Any other value counts as no header (protocol §4.1).
    for (const [index, value] of ['false', '1', ''].entries())
      expect((await s.push(chain(index + 1, 1), { 'stream-closed': value })).status).toBe(200)
  })

  test('whose POST is no JSON receives 400, and for JSON that is no batch 422', async () => {
    const s = store()
    for (const body of [
      '',
      ' ',
      '{bad',
      '[{bad',
      '[',
      '{"a":1',
      '{"a":1} x',
      '[] x',
      '{"a":1,}',
      '"a',
      'nul',
      '1 2',
      '\ufeff[]',
      '[]',
    ])
      expect(await refusal(await s.push(body)), body).toEqual([400, 'body'])
    // No UTF-8: a byte that never occurs, and a lone surrogate as bytes
    for (const bytes of [[0xff], [0x22, 0xff, 0x22], [0x5b, 0x22, 0xed, 0xa0, 0xbd, 0x22, 0x5d]]) {
      const init = { method: 'POST', headers: JSON_TYPE, body: new Uint8Array(bytes) }
      expect(await refusal(await fetch(s.url, init))).toEqual([400, 'body'])
    }
    for (const body of ['{}', '{"a":"\\ud83d"}', 'null', '1', '"a"']) {
      expect(await refusal(await s.push(body)), body).toEqual([422, 'body'])
    }
    const untyped = await fetch(s.url, { method: 'POST', body: new Uint8Array([0x5b, 0x5d]) })
    expect(await refusal(untyped)).toEqual([400, 'content-type'])
    expect(await exists(s)).toBe(false)
  })

  test.skipIf(isBuiltIn)('learns by HEAD what GET would serve', async () => {
    const s = store()
    const described = async () => {
      const { status, headers } = await s.request('HEAD')
      return [
        status,
        ...['content-type', 'stream-next-offset', 'livestore-head', 'livestore-problem'].map((_) => headers.get(_)),
      ]
    }
    const tail = async () => (await fetch(s.upstreamUrl, { method: 'HEAD' })).headers.get('stream-next-offset')
    expect(await described()).toEqual([200, 'application/json', '-1', '0', null])
    await s.pushed(chain(0, 2))
    expect(await described()).toEqual([200, 'application/json', await tail(), '2', null])

    // A log of JSON messages that are no events: GET serves it.
    const foreign = store()
    await fetch(foreign.upstreamUrl, { method: 'PUT', headers: JSON_TYPE, body: '[{"any":1},{"any":2}]' })
    expect(await (await foreign.read()).json()).toEqual([{ any: 1 }, { any: 2 }])
    const head = await foreign.request('HEAD')
    expect([head.status, head.headers.get('content-type'), head.headers.get('livestore-problem')]).toEqual([
      200,
      'application/json',
      'store-halted; reason=broken',
    ])
    const page = await foreign.read()
    expect(head.headers.get('stream-next-offset')).toBe(page.headers.get('stream-next-offset'))
    expect([head.headers.get('livestore-head'), head.headers.get('stream-closed')]).toEqual([null, null])

    // GET refuses a stream of another type, and HEAD does, too.
    const text = store()
    await fetch(text.upstreamUrl, { method: 'PUT', headers: { 'content-type': 'text/plain' }, body: 'x' })
    expect((await text.read()).status).toBe(502)
    expect((await text.request('HEAD')).status).toBe(503)
  })

  test('learns that a stream is closed, by HEAD, PUT and GET', async () => {
    const s = store()
    await s.pushed(chain(0, 2))
    await close(s)
    const head = await s.request('HEAD')
    expect([head.status, head.headers.get('content-type'), head.headers.get('stream-closed')]).toEqual([
      200,
      'application/json',
      'true',
    ])
    const open = await s.request('PUT')
    expect([open.status, open.headers.get('stream-closed'), open.headers.get('stream-next-offset')]).toEqual([
      409,
      'true',
      head.headers.get('stream-next-offset'),
    ])
    const closed = await s.request('PUT', { headers: { 'stream-closed': 'true' } })
    expect([closed.status, closed.headers.get('stream-closed'), closed.headers.get('content-type')]).toEqual([
      200,
      'true',
      'application/json',
    ])
    expect(closed.headers.get('stream-next-offset')).toBe(head.headers.get('stream-next-offset'))
    const page = await s.read()
    expect([page.headers.get('stream-closed'), eventsIn(await json(page))]).toEqual(['true', chain(0, 2)])
  })

  test('receives 304 if it names the tag in any form', async () => {
    const s = store()
    for (let head = 0; head < 15; head += 5) await s.pushed(chain(head, 5))
    await s.pushed(chain(15, 2))
    const pages = await walk(s)
    expect(pages.length).toBeGreaterThan(2)
    // Each page, sealed or not, and the whole log
    for (const query of [...pages.map(({ query }) => query), 'whole=true&offset=-1']) {
      const etag = (await s.read(query)).headers.get('etag') ?? ''
      expect(etag).toMatch(/^"/)
      for (const tags of [etag, `W/${etag}`, `"other", ${etag}`, `W/"other",W/${etag}`, '*']) {
        const known = await s.read(query, { 'if-none-match': tags })
        expect([known.status, known.headers.get('etag'), await known.text()], tags).toEqual([304, etag, ''])
      }
      for (const tags of ['"other"', 'W/"other", "another"', etag.slice(1, -1), '""']) {
        const read = await s.read(query, { 'if-none-match': tags })
        expect([read.status, read.headers.get('etag')], tags).toEqual([200, etag])
        await read.text()
      }
    }
    // An answer without a tag is never known.
    expect((await s.read('offset=now', { 'if-none-match': '*' })).status).toBe(200)
    expect((await store().read('offset=-1', { 'if-none-match': '*' })).status).toBe(200)
  })

  test('misses nothing of a store that begins after its read', async () => {
    for (const query of [
      'offset=now',
      'offset=-1',
      '',
      'after=0',
      'offset=0000000000000009_0000000000000999',
      'whole=true',
    ]) {
      const s = store()
      const empty = await s.read(query)
      expect([empty.status, await empty.text(), empty.headers.get('stream-next-offset')]).toEqual([200, '[]', '-1'])
      expect(empty.headers.get('stream-up-to-date')).toBe('true')
      await s.pushed(chain(0, 3))
      const next = await s.read(`offset=${empty.headers.get('stream-next-offset')}`)
      expect(eventsIn(await json(next))).toEqual(chain(0, 3))
    }
    // An offset of the Worker's own, from an incarnation that is gone
    const s = store()
    const empty = await s.read('offset=-1~hw0000000000000009.9')
    expect([empty.status, await empty.text(), empty.headers.get('stream-next-offset')]).toEqual([200, '[]', '-1'])
    // A live read creates the stream, and so begins at its tail.
    const live = await s.read('offset=now&live=long-poll', {}, AbortSignal.timeout(300)).catch(() => undefined)
    expect(live?.headers.get('stream-next-offset')).not.toBe('-1')
  })

  test('receives the whole log in one answer, from any offset', async () => {
    const s = store()
    const ends: string[] = []
    for (let head = 0; head < 22; head += 2) {
      ends.push((await s.pushed(chain(head, 2))).headers.get('stream-next-offset') ?? '')
    }
    expect((await walk(s)).length).toBeGreaterThan(3)
    for (const [query, first] of [
      ['offset=-1', 1],
      ['', 1],
      [`offset=${ends[0]}`, 3],
      [`offset=${ends[4]}`, 11],
      [`offset=${ends.at(-1)}`, 23],
      ['after=0', 1],
      ['after=10', 11],
      ['after=21', 21],
      ['after=22', 23],
    ] as const) {
      const page = await readPage(s, `${query}&whole=true`)
      expect([page.upToDate, page.cache, page.headers.get('cache-control')], query).toEqual([
        true,
        'BYPASS',
        'no-store',
      ])
      expect(seqNums(page.events), query).toEqual(numbers(first, 22))
      expect(page.next).toBe(ends.at(-1))
      expect(page.headers.get('livestore-head')).toBe('22')
    }
    for (const query of [
      'whole=1',
      'whole=',
      'whole=false',
      'whole=true&live=sse&offset=-1',
      'whole=true&live=long-poll&offset=-1',
    ])
      expect(await refusal(await s.read(query))).toEqual([400, 'whole'])
  })

  test.skipIf(isBuiltIn)('learns that a sealed page ends at the tail, and only while it does', async () => {
    const s = store()
    for (let head = 0; head < 15; head += 5) await s.pushed(chain(head, 5))
    const pages = await walk(s)
    expect(pages.map(({ upToDate }) => upToDate)).toEqual([false, false, true])
    const final = { cacheControl: 'private, no-cache', upToDate: false }
    const atTail = { cacheControl: 'no-store', upToDate: true }
    const last = async () => {
      const { headers, upToDate } = await readPage(s, pages[2]!.query)
      return { cacheControl: headers.get('cache-control'), upToDate }
    }
    expect(await last()).toEqual(atTail)
    // Somebody else's append, of which the Worker's remembered tip knows nothing
    const headers = { ...JSON_TYPE, 'stream-seq': '0000000000000015' }
    expect((await fetch(s.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(chain(15, 1)) })).ok).toBe(true)
    expect(await last()).toEqual(final)
    expect(seqNums((await walk(s)).flatMap(({ events }) => events))).toEqual(numbers(1, 16))
  })

  test.skipIf(isBuiltIn)('serves a sealed page as it is while the upstream cannot tell its tail', async () => {
    const s = store()
    for (let head = 0; head < 10; head += 5) await s.pushed(chain(head, 5))
    const [, last] = await walk(s)
    parts.proxy.inject(({ method, path }) =>
      method === 'HEAD' && path.endsWith(`/${s.name}`) ? { status: 500 } : undefined,
    )
    const page = await readPage(s, last!.query)
    expect([page.upToDate, page.cache, page.headers.get('cache-control')]).toEqual([false, 'HIT', 'private, no-cache'])
    parts.proxy.inject()
  })

  test('reads a closed stream to its end in sealed pages, whose tags change with the close', async () => {
    const s = store()
    for (let head = 0; head < 10; head += 5) await s.pushed(chain(head, 5))
    const [first, last] = await walk(s)
    const etag = last!.headers.get('etag')!
    await close(s)
    const closed = await s.read(last!.query, { 'if-none-match': etag })
    expect([closed.status, closed.headers.get('stream-closed'), closed.headers.get('stream-up-to-date')]).toEqual([
      200,
      'true',
      'true',
    ])
    expect(closed.headers.get('etag')).toBe(etag.replace(/"$/, ':c"'))
    await closed.text()
    // A part of a closed stream says nothing of the close (protocol §5.6).
    const part = await readPage(s, first!.query)
    expect([part.headers.get('stream-closed'), part.upToDate]).toEqual([null, false])
  })
})

describe('a page of another origin', () => {
  const parts = useParts(startRustUpstream)

  test('may send every request header of the protocol, and see every response header', async () => {
    const s = new Store(parts)
    const sent = [
      'accept',
      'cache-control',
      'content-type',
      'if-match',
      'if-none-match',
      'last-event-id',
      'livestore-backend-id',
      'producer-epoch',
      'producer-id',
      'producer-seq',
      'stream-closed',
      'stream-expires-at',
      'stream-fork-offset',
      'stream-fork-sub-offset',
      'stream-forked-from',
      'stream-seq',
      'stream-ttl',
    ]
    const list = (value: string | null) => (value ?? '').split(',').map((name) => name.trim())
    const preflight = await s.request('OPTIONS', {
      headers: {
        origin: 'http://localhost:5173',
        'access-control-request-method': 'PUT',
        'access-control-request-headers': sent.join(),
      },
    })
    expect(preflight.status).toBe(204)
    expect(list(preflight.headers.get('access-control-allow-headers'))).toEqual(expect.arrayContaining(sent))
    expect(list(preflight.headers.get('access-control-allow-methods'))).toEqual(
      expect.arrayContaining(['GET', 'HEAD', 'POST', 'PUT', 'DELETE']),
    )
    const refused = await s.push([event(1)], { origin: 'http://localhost:5173', 'stream-seq': '1' })
    expect(refused.status).toBe(400)
    expect(list(refused.headers.get('access-control-expose-headers'))).toEqual(
      expect.arrayContaining([
        'etag',
        'location',
        'producer-epoch',
        'producer-expected-seq',
        'producer-received-seq',
        'producer-seq',
        'stream-closed',
        'stream-cursor',
        'stream-expires-at',
        'stream-next-offset',
        'stream-sse-data-encoding',
        'stream-ttl',
        'stream-up-to-date',
      ]),
    )
  })

  test('learns of a halted store by HEAD, whose log another incarnation replaced', async () => {
    const s = new Store(parts)
    await s.pushed(chain(0, 2))
    await fetch(s.upstreamUrl, { method: 'DELETE' })
    const body = JSON.stringify([headerMessage('another'), ...chain(0, 3)])
    await fetch(s.upstreamUrl, { method: 'PUT', headers: JSON_TYPE, body })
    const head = await s.request('HEAD')
    expect([head.status, head.headers.get('livestore-problem'), head.headers.get('retry-after')]).toEqual([
      200,
      'store-halted; reason=replaced',
      '30',
    ])
    // Nobody vouches for that log as the store's.
    expect([head.headers.get('livestore-backend-id'), head.headers.get('livestore-head')]).toEqual([null, null])
    expect(head.headers.get('stream-next-offset')).toBe((await s.read('whole=true')).headers.get('stream-next-offset'))
  })

  test('of a store at a closed upstream learns by HEAD that there is no answer', async () => {
    const worker = await startWorker({ upstreamUrl: 'http://127.0.0.1:1' })
    try {
      const s = new Store({ worker, upstream: parts.upstream })
      expect((await s.request('HEAD')).status).toBe(503)
      expect((await s.request('PUT')).status).toBe(503)
    } finally {
      await worker.stop()
    }
  })
})
