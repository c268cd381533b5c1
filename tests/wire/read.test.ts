import { describe, expect, test } from 'vitest'
import { startWorker } from '../harness/index.ts'
import { sse } from '../support/sse.ts'
import { chain, event, json, Store, statusFor } from '../support/store.ts'
import { logs, useParts } from './parts.ts'

describe.each(logs)('a read, on $name', ({ start, isBuiltIn }) => {
  const parts = useParts(start)
  const store = () => new Store(parts)

  test('begins with the header, and resumes from any offset of an answer', async () => {
    const s = store()
    const first = await s.pushed(chain(0, 2))
    await s.pushed(chain(2, 2))
    const all = await s.read()
    expect(all.headers.get('stream-up-to-date')).toBe('true')
    expect(all.headers.get('x-cache')).toBe('BYPASS')
    expect(all.headers.get('cache-control')).toBe('no-store')
    expect(all.headers.get('livestore-backend-id')).toBe(first.headers.get('livestore-backend-id'))
    const [header, ...events] = await json<unknown[]>(all)
    expect(header).toEqual({ livestore: { backendId: first.headers.get('livestore-backend-id'), version: 1 } })
    expect(events).toEqual(chain(0, 4))

    const rest = await s.read(`offset=${first.headers.get('stream-next-offset')}`)
    expect(await rest.json()).toEqual(chain(2, 2))
    expect(await (await s.read(`offset=${rest.headers.get('stream-next-offset')}`)).json()).toEqual([])
    expect(await (await s.read('offset=now')).json()).toEqual([])
  })

  test('without anything new receives 304', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const etag = (await s.read()).headers.get('etag')!
    expect((await s.read('offset=-1', { 'if-none-match': etag })).status).toBe(304)
    await s.pushed(chain(1, 1))
    expect((await s.read('offset=-1', { 'if-none-match': etag })).status).toBe(200)
  })

  test('by long-poll receives the next push', async () => {
    const s = store()
    const at = (await s.pushed(chain(0, 1))).headers.get('stream-next-offset')
    const waiting = s.read(`offset=${at}&live=long-poll`)
    if (!isBuiltIn) await expect.poll(() => parts.proxy.count({ path: s.name, live: 'long-poll' })).toBe(1)
    await s.pushed(chain(1, 1))
    const response = await waiting
    expect(response.headers.get('stream-cursor')).toBeTruthy()
    expect(await response.json()).toEqual(chain(1, 1))
  })

  test('by SSE receives each push as it arrives', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const controller = new AbortController()
    const response = await s.read('offset=now&live=sse', {}, controller.signal)
    expect(response.headers.get('content-type')).toContain('text/event-stream')
    expect(response.headers.get('livestore-backend-id')).toBeTruthy()
    const events = sse(response)
    expect(await events.next()).toMatchObject({ value: { event: 'control' } })
    for (const seqNum of [2, 3]) {
      // The test reads each event before it pushes the next. A buffer anywhere on the way would stop it here.
      await s.pushed([event(seqNum)])
      const { value } = await events.next()
      expect(value!.event).toBe('data')
      expect(JSON.parse(value!.data)).toEqual([event(seqNum)])
      expect(await events.next()).toMatchObject({ value: { event: 'control' } })
    }
    controller.abort()
  })

  test('of a store without a stream is empty and creates none, and a live read receives the first event', async () => {
    const s = store()
    const empty = await s.read()
    expect([empty.status, await empty.json()]).toEqual([200, []])
    expect(empty.headers.get('stream-up-to-date')).toBe('true')
    const head = await s.request('HEAD')
    expect([head.status, head.headers.get('livestore-head'), head.headers.get('stream-next-offset')]).toEqual([
      200,
      '0',
      '-1',
    ])
    expect(await s.hasLog()).toBe(false)

    const controller = new AbortController()
    const live = sse(await s.read('offset=-1&live=sse', {}, controller.signal))
    expect(JSON.parse((await live.next()).value!.data)).toMatchObject([{ livestore: { version: 1 } }])
    await live.next()
    await s.pushed(chain(0, 1))
    expect(JSON.parse((await live.next()).value!.data)).toEqual(chain(0, 1))
    controller.abort()
  })

  test.skipIf(isBuiltIn)('costs one upstream request', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    parts.proxy.clear()
    for (let i = 0; i < 5; i++) expect(await (await s.read()).json()).toHaveLength(2)
    expect(parts.proxy.requests.map(({ method }) => method)).toEqual(['GET', 'GET', 'GET', 'GET', 'GET'])
  })

  test.skipIf(isBuiltIn)('by HEAD shows the head of the upstream, with others’ appends', async () => {
    const s = store()
    await s.pushed(chain(0, 2))
    const headers = { 'content-type': 'application/json', 'stream-seq': '0000000000000002' }
    const appended = await fetch(s.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(chain(2, 3)) })
    const head = await s.request('HEAD')
    expect(head.headers.get('livestore-head')).toBe('5')
    expect(head.headers.get('stream-next-offset')).toBe(appended.headers.get('stream-next-offset'))
    expect(head.headers.get('cache-control')).toBe('no-store')
  })

  test('after PUT finds a stream, and after DELETE a new backend', async () => {
    const s = store()
    const created = await s.request('PUT')
    expect([created.status, created.headers.get('livestore-head')]).toEqual([201, '0'])
    expect((await s.request('PUT')).status).toBe(200)
    const another = new Store(parts)
    const statuses = await Promise.all(Array.from({ length: 8 }, async () => (await another.request('PUT')).status))
    expect(statuses.sort()).toEqual([200, 200, 200, 200, 200, 200, 200, 201])
    await s.pushed(chain(0, 2))
    const reset = await s.request('DELETE')
    expect(reset.status).toBe(204)
    expect(reset.headers.get('livestore-backend-id')).not.toBe(created.headers.get('livestore-backend-id'))
    expect(await s.events()).toEqual([])
    await s.pushed(chain(0, 1, 'of the new life'))
    expect(await s.events()).toEqual(chain(0, 1, 'of the new life'))
  })

  test.skipIf(isBuiltIn)('of a stream that is not JSON is refused, and so is a push to it', async () => {
    const s = store()
    await fetch(s.upstreamUrl, {
      method: 'PUT',
      headers: { 'content-type': 'text/html' },
      body: '<script>alert(1)</script>',
    })
    expect((await s.read()).status).toBe(502)
    expect(await (await s.push(chain(0, 1))).json()).toMatchObject({ _tag: 'StoreHaltedError', status: 503 })
  })

  test('of a bad address is refused with the reason', async () => {
    const s = store()
    for (const [query, status, field] of [
      ['live=sse', 400, 'offset'],
      ['offset=-1&live=maybe', 400, 'live'],
      ['offset=a%26b', 400, 'offset'],
      ['offset=1&offset=2', 400, 'offset'],
      ['after=1', 400, 'after'],
    ] as const) {
      const refused = await s.read(query)
      expect([refused.status, await refused.json()]).toMatchObject([
        status,
        { field, type: 'urn:headwater:problem:bad-request' },
      ])
    }
  })
})

describe('every answer', () => {
  const parts = useParts()

  test('has a route, or is 404', async () => {
    const { url } = parts.worker
    const health = await fetch(`${url}/health`)
    expect([health.status, await health.json()]).toEqual([200, { status: 'ok' }])
    for (const path of ['/', '/v1/stream/only-tenant', '/v1/stream/t/s/more']) {
      const missing = await fetch(url + path)
      expect([missing.status, await missing.json()]).toMatchObject([404, { _tag: 'NotFoundError' }])
    }
    const patched = await new Store(parts).request('PATCH')
    expect([patched.status, patched.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST, PUT, DELETE, OPTIONS'])
    expect((await fetch(`${url}/v1/stream/t/%ff`)).status).toBe(400)
  })

  test('exposes the headers of the protocol and of the Worker to a browser', async () => {
    const s = new Store(parts)
    const preflight = await s.request('OPTIONS', {
      headers: { origin: 'http://localhost:5173', 'access-control-request-method': 'POST' },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-headers')).toContain('livestore-backend-id')
    for (const response of [preflight, await s.push(chain(0, 1)), await s.read(), await s.push('[')]) {
      expect(response.headers.get('access-control-allow-origin')).toBe('*')
      for (const name of [
        'stream-next-offset',
        'stream-up-to-date',
        'livestore-head',
        'livestore-backend-id',
        'retry-after',
        'etag',
      ]) {
        expect(response.headers.get('access-control-expose-headers')).toContain(name)
      }
      expect(response.headers.get('x-content-type-options')).toBe('nosniff')
      expect(response.headers.get('server-timing')).toMatch(/(^|, )total;dur=\d+$/)
    }
  })

  /** The headers that the preflight refuses. With one of them a browser sends no request. */
  const refusedHeaders = async (url: string, headers: string[]) => {
    const origin = 'http://localhost:5173'
    // The Fetch standard has browsers send the names sorted and in lower case.
    const asked = headers.map((name) => name.toLowerCase()).sort()
    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': asked.join(',') },
    })
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, '*'])
    const allowed = (preflight.headers.get('access-control-allow-headers') ?? '')
      .split(',')
      .map((name) => name.trim().toLowerCase())
    return asked.filter((name) => !allowed.includes(name))
  }
  const OURS = ['authorization', 'content-type', 'if-none-match', 'livestore-backend-id']

  test.each([
    ['OpenTelemetry', ['traceparent', 'tracestate', 'baggage']],
    ['Sentry', ['sentry-trace', 'baggage', 'traceparent']],
    ['Zipkin', ['b3', 'X-B3-TraceId', 'X-B3-SpanId', 'X-B3-ParentSpanId', 'X-B3-Sampled', 'X-B3-Flags']],
    [
      'Datadog',
      [
        'x-datadog-trace-id',
        'x-datadog-parent-id',
        'x-datadog-origin',
        'x-datadog-sampling-priority',
        'traceparent',
        'tracestate',
      ],
    ],
    ['New Relic', ['newrelic', 'traceparent', 'tracestate']],
    ['Elastic', ['elastic-apm-traceparent', 'traceparent', 'tracestate']],
    ['Application Insights', ['Request-Id', 'Request-Context', 'traceparent']],
    ['Jaeger', ['uber-trace-id']],
    ['AWS X-Ray', ['X-Amzn-Trace-Id']],
  ])('lets a page send the tracing headers of %s', async (_, headers) => {
    expect(await refusedHeaders(new Store(parts).url, [...OURS, ...headers])).toEqual([])
  })

  test('lets a page send a header of its own only if ALLOWED_HEADERS names it', async () => {
    const headers = [...OURS, 'traceparent', 'X-Our-Trace', 'x-our-session']
    expect(await refusedHeaders(new Store(parts).url, headers)).toEqual(['x-our-session', 'x-our-trace'])
    const worker = await startWorker({
      upstreamUrl: parts.proxy.url,
      vars: { ALLOWED_HEADERS: 'X-Our-Trace, x-our-session' },
    })
    try {
      expect(await refusedHeaders(new Store({ ...parts, worker }).url, headers)).toEqual([])
    } finally {
      await worker.stop()
    }
  })

  test('without authentication is 403 for a host that is not local', async () => {
    for (const [host, status] of [
      ['sync.example.com', 403],
      ['localhost.example.com', 403],
      ['192.168.1.2:8787', 403],
      ['localhost', 200],
      ['app.localhost:8787', 200],
    ] as const) {
      expect([host, await statusFor(`${parts.worker.url}/health`, host)]).toEqual([host, status])
    }
  })

  test('without authentication is 403 for a page that is not local', async () => {
    const s = new Store(parts)
    for (const [origin, status] of [
      ['http://localhost:5173', 200],
      ['http://app.localhost', 200],
      ['http://127.0.0.1:8080', 200],
      ['https://evil.example', 403],
      ['http://localhost.evil.example', 403],
      ['null', 403],
    ] as const) {
      expect([origin, (await s.read('offset=-1', { origin })).status]).toEqual([origin, status])
    }
    expect((await s.request('DELETE', { headers: { origin: 'https://evil.example' } })).status).toBe(403)
  })

  test('to an unknown method is 405', async () => {
    const s = new Store(parts)
    for (const method of ['PURGE', 'PROPFIND', 'QUERY']) {
      expect([method, await statusFor(s.url, 'localhost', method)]).toEqual([method, 405])
    }
  })

  test('allows only the listed origins', async () => {
    const worker = await startWorker({
      upstreamUrl: parts.proxy.url,
      vars: { ALLOWED_ORIGINS: 'https://a.example, https://b.example/' },
    })
    try {
      for (const [origin, allowed] of [
        ['https://a.example', 'https://a.example'],
        ['https://b.example', 'https://b.example'],
        ['https://c.example', null],
      ] as const) {
        const response = await fetch(`${worker.url}/health`, { headers: { origin } })
        expect([response.headers.get('access-control-allow-origin'), response.headers.get('vary')]).toEqual([
          allowed,
          'origin',
        ])
        expect(response.status).toBe(allowed === null ? 403 : 200)
      }
    } finally {
      await worker.stop()
    }
  })
})
