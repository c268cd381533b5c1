// The inspector: its report about a store, and its readers.
import { describe, expect, test } from 'vitest'
import { headerBody } from '../../client/src/protocol/index.js'
import { openSocket } from '../support/socket.ts'
import { chain, event, json, Store, statusFor } from '../support/store.ts'
import { bearer, hs256, JWT, now } from '../support/tokens.ts'
import { useDeployments } from './parts.ts'

const { parts, deploy: deployWith } = useDeployments()
const deploy = (vars: Record<string, string> = {}) => deployWith({ INSPECTOR: 'on', LOG_REQUESTS: 'none', ...vars })
const address = (store: Store) => `${parts.worker.url}/inspect/api/${store.tenant}/${store.name}`

interface Batch {
  first: number
  last: number
  events: number
  bytes: number
}
interface Tally {
  since: number
  counts: [outcome: string, count: number][]
  recent: { at: number; ms: number; batch: Batch | null; outcome: string; detail: string | null }[]
}
interface Inspected {
  store: {
    state: string
    detail: string | null
    tip: { backend_id: string; head: number; offset: string; events: number; bytes: number } | null
    segments: { from: string; end: string; last: number; events: number; bytes: number }[]
    sealed: number
    sockets: number
    waiting: number
    pushes: Tally
  }
  cached: boolean[]
  age: number | null
  head: number | null
  refused: Tally | null
}

const inspect = async (store: Store): Promise<Inspected> => {
  const response = await fetch(address(store))
  expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store'])
  return json<Inspected>(response)
}

const withScope = (scope: string, claims: object = {}) =>
  bearer(hs256({ tenant: 'acme', stores: ['notes'], scope, ...claims }))

describe('the report', () => {
  test('counts the open sockets and the clients that wait for a turn', async () => {
    await deploy()
    const store = new Store(parts)
    const sockets = [await openSocket(store.url), await openSocket(store.url)]
    await sockets[1]?.want()
    expect(await inspect(store)).toMatchObject({ store: { state: 'ready', sockets: 2, waiting: 1 } })
    for (const socket of sockets) {
      socket.close()
      await socket.closed
    }
    expect(await inspect(store)).toMatchObject({ store: { sockets: 0, waiting: 0 } })
  })

  test('has the tip, the segments with the state of the edge cache, and the outcomes of pushes', async () => {
    await deploy({ SEGMENT_EVENTS: '10' })
    const store = new Store(parts)
    await store.pushed(chain(0, 10))
    const last = await store.pushed(chain(10, 13))
    await store.pushed(chain(10, 13)) // again, as after a lost answer
    const tail = await store.pushed(chain(23, 2))
    expect((await store.push([event(23)])).status).toBe(409)
    expect((await store.push(chain(40, 1))).status).toBe(409)
    expect((await store.push('{')).status).toBe(400)

    const before = await inspect(store)
    const offset = (response: Response) => response.headers.get('stream-next-offset')
    expect(before.store).toMatchObject({
      state: 'ready',
      detail: null,
      tip: {
        backend_id: tail.headers.get('livestore-backend-id'),
        head: 25,
        offset: offset(tail),
        events: 25,
        sealed: { events: 23 },
      },
      segments: [
        { from: '-1', last: 10, events: 10 },
        { last: 23, events: 13, end: offset(last) },
      ],
      sealed: 2,
    })
    expect(before.store.segments[1]!.from).toBe(before.store.segments[0]!.end)
    expect(before.cached).toEqual([false, false])
    expect(before).toMatchObject({ age: expect.any(Number), head: 25 })
    const { pushes } = before.store
    expect([...pushes.counts, ...before.refused!.counts].sort()).toEqual([
      ['accepted', 3],
      ['accepted-again', 1],
      ['bad-request', 1],
      ['invalid-push', 1],
      ['server-ahead', 1],
    ])
    expect(pushes.recent[0]).toMatchObject({
      outcome: 'accepted',
      detail: null,
      batch: { first: 1, last: 10, events: 10, bytes: JSON.stringify(chain(0, 10)).length },
    })
    const refused = [...pushes.recent, ...before.refused!.recent].filter(({ detail }) => detail !== null)
    expect(refused.map(({ detail }) => detail).sort()).toEqual([
      'The batch follows event 40, but the head is 25. Pull, then push again.',
      'The batch starts at 23, but the next event is 26. Pull, rebase, and push again.',
      'The body is not JSON: EOF while parsing an object at line 1 column 1.',
    ])
    for (const { at, ms } of pushes.recent)
      expect(at >= pushes.since && at <= Date.now() && ms >= 0 && ms < 10_000).toBe(true)

    await (await store.read()).text()
    await expect.poll(async () => (await inspect(store)).cached, { timeout: 10_000 }).toEqual([true, true])
  })

  test('is bounded, however long the store is', async () => {
    await deploy({ SEGMENT_EVENTS: '1' })
    const store = new Store(parts)
    for (let head = 0; head < 230; head++) await store.pushed(chain(head, 1))
    for (let i = 0; i < 60; i++) expect((await store.push('{}')).status).toBe(422)
    const inspected = await inspect(store)
    expect(inspected.store.sealed).toBe(230)
    expect(inspected.store.segments.map(({ last }) => last)).toEqual(
      Array.from({ length: 200 }, (_, index) => 31 + index),
    )
    expect(inspected.store.segments[0]!.events).toBe(1)
    expect(inspected.cached.length).toBe(32)
    expect(inspected.store.pushes.counts).toEqual([['accepted', 230]])
    expect(inspected.store.pushes.recent.map(({ batch }) => batch?.last)).toEqual(
      Array.from({ length: 50 }, (_, index) => 181 + index),
    )
    expect(inspected.refused).toMatchObject({ counts: [['invalid-push', 60]] })
    expect(inspected.refused!.recent.length).toBe(50)
  })

  test('says that a store is halted, though its tip is still known', async () => {
    await deploy()
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    const { tip } = (await inspect(store)).store
    // The upstream loses the events, but keeps the backend id.
    const header = headerBody(tip!.backend_id)
    await fetch(store.upstreamUrl, { method: 'DELETE' })
    await fetch(store.upstreamUrl, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: header })
    await parts.worker.restart()
    expect((await store.push(chain(3, 1))).status).toBe(503)
    expect((await inspect(store)).store).toMatchObject({
      state: 'store-halted',
      detail: expect.stringContaining('event 3 was acknowledged'),
      tip,
      pushes: { counts: [['store-halted', 1]] },
    })
  })

  test('says why a store takes no pushes, and which store has no stream', async () => {
    await deploy()
    const halted = new Store(parts)
    await fetch(halted.upstreamUrl, { method: 'PUT', headers: { 'content-type': 'text/plain' }, body: 'not a log' })
    expect((await halted.push(chain(0, 1))).status).toBe(503)
    expect((await inspect(halted)).store).toMatchObject({
      state: 'store-halted',
      detail: expect.stringContaining('Reset this store'),
      tip: null,
      segments: [],
      pushes: { counts: [['store-halted', 1]] },
    })
    const closed = new Store(parts)
    await closed.pushed(chain(0, 2))
    await fetch(closed.upstreamUrl, { method: 'POST', headers: { 'stream-closed': 'true' } })
    expect((await closed.push(chain(2, 1))).status).toBe(409)
    expect((await inspect(closed)).store).toMatchObject({
      state: 'store-closed',
      detail: expect.stringContaining('archived'),
      tip: { head: 2 },
      pushes: {
        counts: [
          ['accepted', 1],
          ['store-closed', 1],
        ],
      },
    })
    const none = new Store(parts)
    expect(await inspect(none)).toMatchObject({
      store: { state: 'no-stream', tip: null, sealed: 0, sockets: 0, waiting: 0 },
      cached: [],
      refused: null,
    })
    expect((await fetch(none.upstreamUrl, { method: 'HEAD' })).status).toBe(404)
    parts.proxy.setOnline(false)
    expect((await inspect(new Store(parts))).store).toMatchObject({
      state: 'upstream-unavailable',
      detail: expect.any(String),
      tip: null,
    })
  })
})

describe('the inspector', () => {
  test('has no routes unless it is turned on', async () => {
    await deploy({ INSPECTOR: 'off' })
    for (const path of ['', '/', '/inspector.js', '/api', '/api/acme/notes', '/api/acme/notes/more']) {
      for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS']) {
        expect([path, method, (await fetch(`${parts.worker.url}/inspect${path}`, { method })).status]).toEqual([
          path,
          method,
          404,
        ])
      }
    }
  })

  test('reports to a token with the scope admin for the store', async () => {
    await deploy(JWT)
    const store = new Store(parts, { name: 'notes' })
    expect((await store.push(chain(0, 1), withScope('write'))).status).toBe(200)
    const status = async (headers: Record<string, string>) => (await fetch(address(store), { headers })).status
    expect(await status({})).toBe(401)
    expect(await status(withScope('admin', { exp: now() - 60 }))).toBe(401)
    expect(await status(withScope('read write'))).toBe(403)
    expect(await status(withScope('admin', { tenant: 'umbrella' }))).toBe(403)
    expect(await status(withScope('admin', { stores: ['others'] }))).toBe(403)
    expect(await status(withScope('admin'))).toBe(200)
    // The page is the same for everyone and has nothing of a store, because a browser sends no token for it.
    expect((await fetch(`${parts.worker.url}/inspect`)).status).toBe(200)
    expect(await json(await fetch(`${parts.worker.url}/inspect/api`))).toEqual({ tokenHeader: 'authorization' })
  })

  test('without authentication reports to local hosts and local pages only, even if others may use the stores', async () => {
    await deploy({ ALLOW_INSECURE: 'true' })
    const store = new Store(parts)
    await store.pushed(chain(0, 1))
    for (const path of ['/inspect', '/inspect/api', `/inspect/api/acme/${store.name}`]) {
      expect([path, await statusFor(`${parts.worker.url}${path}`, 'sync.example.com')]).toEqual([path, 403])
      expect([path, await statusFor(`${parts.worker.url}${path}`, 'localhost')]).toEqual([path, 200])
    }
    expect(await statusFor(store.url, 'sync.example.com', 'HEAD')).toBe(200)
    expect((await fetch(address(store), { headers: { origin: 'https://evil.example' } })).status).toBe(403)
  })

  test('refuses other addresses, other methods and bad names', async () => {
    await deploy({ MAX_NAME_BYTES: '10' })
    const { url } = parts.worker
    for (const path of [
      '/inspect/',
      '/inspect/index.html',
      '/inspect/tsconfig.json',
      '/inspect/api/',
      '/inspect/api/acme',
      '/index.html',
      '/inspector.js',
      '/tsconfig.json',
    ]) {
      expect([path, (await fetch(`${url}${path}`)).status]).toEqual([path, 404])
    }
    for (const path of ['/inspect', '/inspect/api', '/inspect/api/acme/notes']) {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
        const response = await fetch(`${url}${path}`, { method })
        expect([path, method, response.status, response.headers.get('allow')]).toEqual([
          path,
          method,
          405,
          'GET, HEAD, OPTIONS',
        ])
      }
    }
    expect(await json(await fetch(`${url}/inspect/api/acme/longer-than-ten`))).toMatchObject({
      status: 400,
      field: 'store',
    })
    expect((await fetch(`${url}/inspect/api/acme/%zz`)).status).toBe(400)
  })
})

test('the page runs only its own script, and connects only to its Worker', async () => {
  await deploy()
  for (const [path, type] of [
    ['/inspect?tenant=a&store=b', 'text/html'],
    ['/inspect/inspector.css', 'text/css'],
    ['/inspect/inspector.js', 'text/javascript'],
  ] as const) {
    const response = await fetch(`${parts.worker.url}${path}`)
    expect([path, response.status, response.headers.get('content-type')]).toEqual([path, 200, `${type}; charset=utf-8`])
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    const policy = response.headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'; script-src 'self';")
    expect(policy).toContain("frame-ancestors 'none'")
    expect((await response.text()).length).toBeGreaterThan(1_000)
  }
})
