// Something else in place of the upstream or of the log: an empty volume, another incarnation, negative caches, portals,
// duplicates. No acknowledged event is lost, no request loops, and only an administrator gives up a log.
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { headerMessage } from '../../client/src/protocol/index.js'
import { makeFolder, removeFolder, whileDown } from '../harness/index.ts'
import { checkChain } from '../support/events.ts'
import { chain, event, json, type Problem, Store } from '../support/store.ts'
import { upstreams, useParts } from './parts.ts'

const HTML = { status: 200, headers: { 'content-type': 'text/html' }, body: '<h1>Welcome to the hotel</h1>' }

describe.each(upstreams)('where others answer, on $name:', ({ start }) => {
  let folder: string
  const data = () => join(folder, 'data')
  beforeAll(async () => {
    folder = await makeFolder('foreign')
  })
  afterAll(() => removeFolder(folder))
  const parts = useParts(() => start({ dataDir: data() }), { UPSTREAM_TIMEOUT_MS: '2000', SEGMENT_EVENTS: '5' })
  const store = () => new Store(parts)
  const asked = (s: Store) => parts.proxy.requests.filter(({ path }) => path.endsWith(`/${s.name}`))
  const methods = (s: Store) => asked(s).map(({ method }) => method)
  const backendId = (response: Response) => response.headers.get('livestore-backend-id') ?? ''
  const adopt = (s: Store) => fetch(s.url.replace('/v1/stream/', '/v1/adopt/'), { method: 'POST' })
  const recreated = async (s: Store, messages: unknown[]) => {
    await fetch(s.upstreamUrl, { method: 'DELETE' })
    const headers = { 'content-type': 'application/json' }
    expect((await fetch(s.upstreamUrl, { method: 'PUT', headers, body: JSON.stringify(messages) })).status).toBe(201)
  }
  const halted = async (response: Response, detail: string) => {
    expect([response.status, await response.json()]).toMatchObject([
      503,
      { _tag: 'StoreHaltedError', detail: expect.stringContaining(detail) },
    ])
  }

  test('a store whose log is gone halts, keeps its state, begins no new log, and goes on when the log is back', {
    timeout: 60_000,
  }, async () => {
    const [s, empty] = [store(), store()]
    for (let head = 0; head < 12; head += 3) await s.pushed(chain(head, 3))
    const before = await s.request('HEAD')
    const history = await (await s.read()).text()
    await whileDown(parts.upstream, async () => {
      await cp(data(), `${data()}-kept`, { recursive: true })
      await removeFolder(data())
    })
    await halted(await s.push(chain(12, 1)), 'event 12 was acknowledged')
    await halted(await s.push(chain(0, 1, 'new')), 'event 12 was acknowledged')
    for (const method of ['HEAD', 'PUT']) expect((await s.request(method)).status).toBe(503)
    for (const live of ['sse', 'long-poll'])
      await halted(await s.read(`offset=-1&live=${live}`), 'event 12 was acknowledged')
    await halted(await adopt(s), 'event 12 was acknowledged')
    expect((await fetch(`${s.upstreamUrl}?offset=-1`)).status).toBe(404)
    const sealed = await s.read()
    expect([sealed.status, sealed.headers.get('x-cache'), await sealed.text()]).toEqual([200, 'HIT', history])
    // A store that never had a stream does not halt.
    await empty.pushed(chain(0, 1))

    await whileDown(parts.upstream, async () => {
      await removeFolder(data())
      await cp(`${data()}-kept`, data(), { recursive: true })
    })
    const next = await s.pushed(chain(12, 1))
    expect(backendId(next)).toBe(backendId(before))
    expect(await s.eventsInLog()).toEqual(chain(0, 13))
    await halted(await empty.push(chain(1, 1)), 'event 1 was acknowledged')
    // Only an administrator can make the store start over.
    expect((await empty.request('DELETE')).status).toBe(204)
    await empty.pushed(chain(0, 1))
  })

  test('another incarnation halts the store until an administrator adopts it', async () => {
    for (const length of [1, 3, 5]) {
      const s = store()
      const old = backendId(await s.pushed(chain(0, 3)))
      await recreated(s, [headerMessage('another'), ...chain(0, length, { of: 'another' })])
      // The other log can be read. HEAD describes it, and names the problem.
      const head = await s.request('HEAD')
      expect([head.status, head.headers.get('livestore-problem'), backendId(head)]).toEqual([
        200,
        'store-halted; reason=replaced',
        '',
      ])
      await halted(await s.push(chain(3, 1), { 'livestore-backend-id': old }), 'backend another')
      expect(await s.eventsInLog()).toEqual(chain(0, length, { of: 'another' }))
      const adopted = await adopt(s)
      expect([adopted.status, backendId(adopted), adopted.headers.get('livestore-head')]).toEqual([
        200,
        'another',
        String(length),
      ])
      expect(await json<Problem>(await s.push(chain(3, 1), { 'livestore-backend-id': old }))).toMatchObject({
        _tag: 'BackendIdMismatchError',
      })
      await s.pushed([event(length + 1)])
      expect((await s.eventsInLog()).length).toBe(length + 1)
    }
  })

  test('an adoption that is not possible is refused with its reason', async () => {
    const nothing = await adopt(store())
    expect([nothing.status, await nothing.json()]).toMatchObject([409, { _tag: 'NothingToAdoptError' }])
    const torn = store()
    await torn.pushed(chain(0, 1))
    await recreated(torn, [event(9)])
    await halted(await adopt(torn), 'not a chain')
    const short = store()
    const id = backendId(await short.pushed(chain(0, 3)))
    await recreated(short, [headerMessage(id), ...chain(0, 2)])
    // Devices that hold event 3 would not notice, and would go on from another chain than all others.
    await halted(await adopt(short), 'event 3 was acknowledged')
    expect((await fetch(short.url.replace('/v1/stream/', '/v1/adopt/'))).status).toBe(405)
  })

  test.each([404, 410])(
    'reads end when the upstream answers %i, though its PUT says that the stream exists',
    async (status) => {
      const s = store()
      await recreated(s, [])
      parts.proxy.inject(({ method, path }) =>
        method === 'GET' && path.endsWith(`/${s.name}`) ? { status } : undefined,
      )
      parts.proxy.clear()
      for (const response of [await s.push(chain(0, 1)), await s.request('PUT')]) {
        expect(response.status).toBe(503)
        expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      }
      expect((await s.read('offset=-1&live=sse')).status).toBe(status === 404 ? 503 : 410)
      // A client that asked and left leaves nothing behind.
      const leaving = new AbortController()
      const left = s.read('offset=-1&live=sse', {}, leaving.signal)
      leaving.abort()
      await expect(left).rejects.toThrow()
      await parts.proxy.settled()
      const bound = 4 * 8
      expect(asked(s).length).toBeLessThanOrEqual(bound)
      if (status === 410) {
        const trimmed = await s.read()
        expect([trimmed.status, await trimmed.json()]).toMatchObject([410, { _tag: 'HistoryTrimmedError' }])
        await halted(await s.push(chain(0, 1)), 'no longer keeps the beginning')
      }
      parts.proxy.inject()
      await s.pushed(chain(0, 1))
    },
  )

  test('a DELETE that somebody else answers resets nothing, and the caller learns it', async () => {
    const s = store()
    const id = backendId(await s.pushed(chain(0, 3)))
    const deletes = ({ method, path }: { method: string; path: string }) =>
      method === 'DELETE' && path.endsWith(`/${s.name}`)
    for (const fault of [{ status: 404 }, { ...HTML }, { status: 204 }]) {
      parts.proxy.inject((request) => (deletes(request) ? fault : undefined))
      expect((await s.request('DELETE')).status).toBe(503)
      expect(await s.eventsInLog()).toEqual(chain(0, 3))
    }
    parts.proxy.inject()
    expect(backendId(await s.request('HEAD'))).toBe(id)
    const reset = await s.request('DELETE')
    expect(reset.status).toBe(204)
    expect(backendId(reset)).not.toBe(id)
    expect(await s.eventsInLog()).toEqual([])
  })

  test('one stray 404 to an append costs two requests, and keeps the index', async () => {
    const s = store()
    for (let head = 0; head < 12; head += 3) await s.pushed(chain(head, 3))
    const page = async () => (await s.read()).headers
    await page()
    for (const status of [404, 410]) {
      const head = Number((await s.request('HEAD')).headers.get('livestore-head'))
      parts.proxy.clear()
      parts.proxy.next({ method: 'POST', path: s.name }, { status })
      await s.pushed(chain(head, 1))
      expect(methods(s)).toEqual(['POST', 'GET', 'POST'])
      expect((await page()).get('x-cache')).toBe('HIT')
    }
  })

  test('an append counts as landed only if the server itself says so', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const page = { ...HTML, headers: { ...HTML.headers, 'stream-next-offset': '9999999999999999_9999999999999999' } }
    let head = 1
    for (const fault of [
      { status: 204 },
      { status: 200 },
      HTML,
      page,
      { status: 302, headers: { location: '/login' } },
      { status: 201 },
    ]) {
      for (const applied of [false, true]) {
        parts.proxy.clear()
        parts.proxy.next({ method: 'POST', path: s.name }, { ...fault, applied })
        const pushed = await s.pushed(chain(head, 1))
        head += 1
        expect(pushed.headers.get('livestore-head')).toBe(String(head))
        expect(methods(s)).toEqual(applied ? ['POST', 'GET'] : ['POST', 'GET', 'POST'])
      }
    }
    expect(await s.eventsInLog()).toEqual(chain(0, head))
  })

  test('a portal before the upstream halts no store', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    for (const fault of [
      HTML,
      { status: 302, headers: { location: '/login' } },
      { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' },
    ]) {
      parts.proxy.inject(({ path }) => (path.endsWith(`/${s.name}`) ? fault : undefined))
      for (const response of [
        await s.push(chain(1, 1)),
        await s.read(),
        await s.read('offset=-1&live=sse'),
        await s.request('PUT'),
      ]) {
        expect([response.status, (await json<Problem>(response))._tag]).toEqual([503, 'UnavailableError'])
      }
    }
    parts.proxy.inject()
    await s.pushed(chain(1, 1))
    expect(await s.eventsInLog()).toEqual(chain(0, 2))
  })

  test.each(['[]', '[ ]'])('the Worker gives up on pages without a message and without an end (%s)', async (body) => {
    const s = store()
    for (let head = 0; head < 12; head += 3) await s.pushed(chain(head, 3))
    await s.request('HEAD')
    let pages = 0
    parts.proxy.inject(({ method, path }) => {
      if (method !== 'GET' || !path.endsWith(`/${s.name}`)) return undefined
      pages += 1
      const next = `9${String(pages).padStart(15, '0')}_0000000000000000`
      return { status: 200, headers: { 'content-type': 'application/json', 'stream-next-offset': next }, body }
    })
    // The Sequencer reads: once it knows the log's end, and once not even the log's backend.
    parts.proxy.next({ method: 'POST', path: s.name }, { status: 500 })
    for (const restarts of [false, true]) {
      if (restarts) {
        await parts.worker.kill()
        await parts.worker.restart()
      }
      parts.proxy.clear()
      expect((await s.push(chain(12, 1))).status).toBe(503)
      await parts.proxy.settled()
      expect(asked(s).length).toBeLessThan(50)
    }
    // The edge reads history that is not in its cache.
    parts.proxy.clear()
    expect((await s.read()).status).toBe(503)
    expect(asked(s).length).toBeGreaterThan(1)
    expect(asked(s).length).toBeLessThan(50)
    parts.proxy.inject()
    await s.pushed(chain(12, 1))
    expect(await s.eventsInLog()).toEqual(chain(0, 13))
    expect((await s.read()).status).toBe(200)
  })

  test('the Sequencer ignores an epoch that no clock can have made', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    let head = 1
    for (const epoch of ['9007199254740990', String(Date.now() + 2 * 86_400_000)]) {
      parts.proxy.clear()
      parts.proxy.next({ method: 'POST', path: s.name }, { status: 403, headers: { 'producer-epoch': epoch } })
      await s.pushed(chain(head, 1))
      head += 1
      const appends = asked(s).filter(({ method }) => method === 'POST')
      expect(appends.length).toBe(2)
      for (const { headers } of appends) expect(Number(headers['producer-epoch'])).toBeLessThan(Date.now() + 60_000)
    }
    // Another server's clock may be ahead of this one.
    const ahead = Date.now() + 3_600_000
    parts.proxy.next({ method: 'POST', path: s.name }, { status: 403, headers: { 'producer-epoch': String(ahead) } })
    await s.pushed(chain(head, 1))
    expect(Number(asked(s).at(-1)?.headers['producer-epoch'])).toBe(ahead + 1)
    expect(await s.eventsInLog()).toEqual(chain(0, head + 1))
  })

  test('many reads of the tip are one upstream request, and a push does not wait for them', async () => {
    const s = store()
    await s.pushed(chain(0, 3))
    parts.proxy.clear()
    parts.proxy.inject(({ path }) => (path.endsWith(`/${s.name}`) ? { hold: 'request', ms: 50 } : undefined))
    const heads = Array.from({ length: 300 }, () => s.request('HEAD'))
    await expect.poll(() => asked(s).length).toBeGreaterThan(0)
    const stale = s.push(chain(1, 1, 'stale'))
    const push = s.push(chain(3, 1))
    const since = asked(s).length
    expect((await stale).status).toBe(409)
    expect((await push).status).toBe(200)
    const until = methods(s).indexOf('POST')
    expect(until - since).toBeLessThanOrEqual(1) // the look that was under way, and none more
    expect((await Promise.all(heads)).map(({ status }) => status)).toEqual(heads.map(() => 200))
    expect(asked(s).length).toBeLessThan(10)
    parts.proxy.inject()
  })

  test('a wake costs one small read, however long the log is', { timeout: 60_000 }, async () => {
    const s = store()
    const padding = 'x'.repeat(10_000)
    for (let head = 0; head < 500; head += 50) await s.pushed(chain(head, 50, padding)) // 5 MB
    await s.pushed(chain(500, 1))
    const producers = new Set<unknown>()
    const epochs: number[] = []
    for (let head = 501; head < 504; head += 1) {
      await s.rowsWritten()
      await parts.worker.kill()
      await parts.worker.restart()
      parts.proxy.clear()
      await s.pushed(chain(head, 1))
      expect(methods(s)).toEqual(['GET', 'POST'])
      const [look, append] = asked(s)
      expect(look?.sent).toBeLessThan(1_000)
      producers.add(append?.headers['producer-id'])
      epochs.push(Number(append?.headers['producer-epoch']))
    }
    expect(producers.size).toBe(1)
    expect(new Set(epochs).size).toBe(3)
    expect(epochs.toSorted((a, b) => a - b)).toEqual(epochs)
    // The same read finds a log that is longer or shorter than the stored state.
    await s.rowsWritten()
    await parts.worker.kill()
    const log = await json<unknown[]>(await fetch(`${s.upstreamUrl}?offset=-1`))
    await recreated(s, log.slice(0, -1))
    await parts.worker.restart()
    await halted(await s.push(chain(504, 1)), 'event 504 was acknowledged')
    await recreated(s, [...log, event(505)])
    await s.pushed(chain(505, 1))
    checkChain(await s.eventsInLog())
  })
})
