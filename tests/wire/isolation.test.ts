// Two tenants with a store of the same name. Neither tenant sees or loses anything through the other, by any route and through
// any cache.

import { Agent, request as httpRequest } from 'node:http'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { urlPath } from '../../client/src/protocol/index.js'
import { checkChain } from '../support/events.ts'
import { seed } from '../support/random.ts'
import { sse } from '../support/sse.ts'
import { chain, type Event, json, Store, walk } from '../support/store.ts'
import { bearer, hs256, JWT, now } from '../support/tokens.ts'
import { useParts } from './parts.ts'

/** Small segments, so that the edge cache takes part. */
const parts = useParts(undefined, { ...JWT, SEGMENT_BYTES: '2000', SEGMENT_EVENTS: '10' })

const ticket = (tenant: string, stores: string | string[] = '*', scope = 'read write admin') =>
  hs256({ exp: now() + 3_600, tenant, stores, scope })

/** One tenant's view of one store, which may be another tenant's. */
class View {
  readonly store: Store
  readonly headers: Record<string, string>
  constructor(tenant: string, name: string, as = tenant) {
    this.store = new Store(parts, { tenant, name })
    this.headers = bearer(ticket(as))
  }
  push(batch: Event[], headers: Record<string, string> = {}) {
    return this.store.push(batch, { ...this.headers, ...headers })
  }
  read(query: string, headers: Record<string, string> = {}, signal?: AbortSignal) {
    return this.store.read(query, { ...this.headers, ...headers }, signal)
  }
  request(method: string) {
    return this.store.request(method, { headers: this.headers })
  }
  pages() {
    return walk(this)
  }
  async whose() {
    const owners = new Set(
      (await this.pages()).flatMap(({ events }) => events).map(({ args }) => (args as { of: string }).of),
    )
    return [...owners]
  }
}

const EVENTS = 45
const fill = async (view: View, of: string) => {
  for (let head = 0; head < EVENTS; head += 5) expect((await view.push(chain(head, 5, { of }))).status).toBe(200)
}

describe('two tenants and one name', () => {
  const name = 'shared'
  let acme: View, globex: View, thief: View
  beforeAll(async () => {
    ;[acme, globex, thief] = [new View('acme', name), new View('globex', name), new View('acme', name, 'globex')]
    await fill(acme, 'acme')
    await fill(globex, 'globex')
  })

  test("every route refuses the other tenant's token, and sends no upstream request", async () => {
    const before = await (await acme.read('offset=-1')).text()
    const { next } = (await acme.pages())[0]!
    parts.proxy.clear()
    const answers = [
      await thief.push(chain(EVENTS, 1, { of: 'globex' })),
      await thief.push(chain(EVENTS - 5, 5, { of: 'acme' })), // the batch that made the head: it would be accepted again
      ...(await Promise.all(
        [
          '',
          'offset=-1',
          `offset=${next}`,
          'offset=now',
          'after=3',
          'offset=-1&live=sse',
          'offset=-1&live=long-poll',
          'after=3&live=sse',
        ].map((query) => thief.read(query)),
      )),
      await thief.read('offset=-1', { 'if-none-match': '*' }),
      ...(await Promise.all(['HEAD', 'PUT', 'DELETE'].map((method) => thief.request(method)))),
    ]
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 403))
    for (const answer of answers) {
      expect(answer.headers.get('livestore-backend-id')).toBeNull()
      expect(answer.headers.get('livestore-head')).toBeNull()
      expect(answer.headers.get('stream-next-offset')).toBeNull()
      expect(await answer.text()).not.toContain('acme')
    }
    expect(parts.proxy.requests).toEqual([])
    expect(await (await acme.read('offset=-1')).text()).toBe(before)
  })

  test('the edge cache gives each tenant its own pages, though offsets and numbers are the same', async () => {
    await Promise.all([acme.pages(), globex.pages()])
    const [ours, theirs] = await Promise.all([acme.pages(), globex.pages()])
    expect(ours.map(({ cache }) => cache)).toContain('HIT')
    expect(theirs.map(({ cache }) => cache)).toContain('HIT')
    expect(await acme.whose()).toEqual(['acme'])
    expect(await globex.whose()).toEqual(['globex'])
    expect(new Set([...ours, ...theirs].map(({ headers }) => headers.get('livestore-backend-id'))).size).toBe(2)
    // An ETag of one tenant makes no 304 for the other.
    const tag = ours[0]?.headers.get('etag') ?? ''
    expect((await acme.read('offset=-1', { 'if-none-match': tag })).status).toBe(304)
    expect((await globex.read('offset=-1', { 'if-none-match': tag })).status).toBe(200)
  })

  test('the isolate and the Sequencers keep the state of each tenant apart', async () => {
    const head = async (view: View) => (await view.request('HEAD')).headers
    const [ours, theirs] = [await head(acme), await head(globex)]
    expect(ours.get('livestore-head')).toBe(String(EVENTS))
    expect(theirs.get('livestore-head')).toBe(String(EVENTS))
    const id = ours.get('livestore-backend-id') ?? ''
    expect(theirs.get('livestore-backend-id')).not.toBe(id)
    // Neither the backend id nor the last batch of one tenant counts for the other.
    expect((await globex.push(chain(EVENTS, 1, { of: 'globex' }), { 'livestore-backend-id': id })).status).toBe(409)
    const repeated = await globex.push(chain(EVENTS - 5, 5, { of: 'acme' }))
    expect(await json(repeated)).toMatchObject({ _tag: 'ServerAheadError' })
    expect((await acme.push(chain(EVENTS - 5, 5, { of: 'acme' }))).status).toBe(200)
    const after = await json<Event[]>(await globex.read('after=40'))
    expect(after.map(({ args }) => (args as { of: string }).of)).toEqual(after.map(() => 'globex'))
  })

  test.each(['sse', 'long-poll'])('a live reader (%s) receives only events of its own tenant', async (live) => {
    const leaving = new AbortController()
    const offset = (await globex.request('HEAD')).headers.get('stream-next-offset') ?? ''
    const head = Number((await globex.request('HEAD')).headers.get('livestore-head'))
    const ours = Number((await acme.request('HEAD')).headers.get('livestore-head'))
    const reading = globex.read(`offset=${offset}&live=${live}`, {}, leaving.signal)
    const response = live === 'sse' ? await reading : undefined
    expect((await acme.push(chain(ours, 1, { of: 'acme' }))).status).toBe(200)
    expect((await globex.push(chain(head, 1, { of: 'globex' }))).status).toBe(200)
    if (response === undefined) {
      expect(await json<Event[]>(await reading)).toMatchObject([{ args: { of: 'globex' } }])
    } else {
      for await (const { event, data } of sse(response)) {
        if (event !== 'data' || data === '[]') continue
        expect(JSON.parse(data)).toMatchObject([{ args: { of: 'globex' } }])
        break
      }
    }
    leaving.abort()
  })

  test('a reset of one store leaves the other unchanged', async () => {
    const before = await globex.pages()
    const total = before.flatMap(({ events }) => events)
    expect((await acme.request('DELETE')).status).toBe(204)
    expect(await acme.whose()).toEqual([])
    expect((await globex.pages()).flatMap(({ events }) => events)).toEqual(total)
    expect((await acme.push(chain(0, 3, { of: 'acme again' }))).status).toBe(200)
    expect(await acme.whose()).toEqual(['acme again'])
    expect(await globex.whose()).toEqual(['globex'])
    checkChain((await globex.pages()).flatMap(({ events }) => events))
  })

  test('no line of the log names both tenants', () => {
    for (const line of parts.worker.logs().split('\n')) expect(line).not.toMatch(/acme.*globex|globex.*acme/)
  })
})

/** Texts that paths, URLs, servers, file systems or claims may treat specially. */
const hostileName = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'a',
        'A',
        'acme',
        '..',
        '.',
        '/',
        '\\',
        '%2f',
        '%2F',
        '%',
        '%00',
        '\0',
        '~2F',
        '~h',
        '~',
        '*',
        '?',
        '#',
        '&',
        '=',
        ' ',
        '+',
        '\n',
        '\r\n',
        ':',
        '@',
        ';',
        ',',
        '"',
        "'",
        '<',
        '{tenant}',
        '__ds',
        '_',
        '-',
        'é',
        'e\u0301',
        'ａ',
        '😀',
        '\u202e',
        '\ufeff',
        'constructor',
        '__proto__',
      ),
      fc.string({ unit: 'grapheme', maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 6 }).filter((text) => text.isWellFormed()),
    ),
    { minLength: 1, maxLength: 5 },
  )
  .map((pieces) => pieces.join(''))
  .filter((name) => name !== '' && name !== '.' && name !== '..')
const longName = fc
  .tuple(hostileName, fc.integer({ min: 60, max: 300 }))
  .map(([name, times]) => name.repeat(times).slice(0, 1_000))
  .filter((name) => name.isWellFormed())
const name = fc.oneof({ weight: 9, arbitrary: hostileName }, { weight: 1, arbitrary: longName })

const agent = new Agent({ keepAlive: true, maxSockets: 32 })
/** Sends the path as it is. `fetch` would normalize it. */
const raw = (
  method: string,
  path: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> =>
  new Promise((resolve, reject) => {
    const { port } = new URL(parts.worker.url)
    httpRequest({ agent, host: '127.0.0.1', port, method, path, headers }, (response) => {
      let body = ''
      response
        .setEncoding('utf8')
        .on('data', (chunk) => (body += chunk))
        .on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
      .on('error', reject)
      .end()
  })

const path = (tenant: string, store: string) => `/v1/stream/${urlPath(tenant, store)}`

test(`tokens for 10,000 hostile names open only the stores that they name (seed ${seed})`, {
  timeout: 120_000,
}, async () => {
  const pairs = fc.sample(fc.tuple(name, name, name, name), { numRuns: 10_000, seed })
  const wrong: unknown[] = []
  const check = async ([tenant, store, otherTenant, otherStore]: [string, string, string, string]) => {
    const headers = { ...bearer(ticket(tenant, [store])), 'content-type': 'text/plain' }
    // A push of another type receives 409, but only if the token opens the store.
    const own = await raw('POST', path(tenant, store), headers)
    const other = await raw('POST', path(otherTenant, otherStore), headers)
    const isSame = tenant === otherTenant && (store === otherStore || store === '*')
    const isOpen = isSame ? 409 : 403
    if (own.status !== 409 || other.status !== isOpen)
      wrong.push({ tenant, store, otherTenant, otherStore, own, other })
  }
  const queue = pairs.values()
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      for (const pair of queue) await check(pair)
    }),
  )
  expect(wrong).toEqual([])
})

test(`no two of 300 hostile names share a stream, a Sequencer or a cache (seed ${seed})`, {
  timeout: 120_000,
}, async () => {
  const names = [...new Set(fc.sample(name, { numRuns: 150, seed }))]
  // Each name is once a tenant's and once a store's. The pairs differ only in the position of the boundary.
  const stores = names.flatMap((name) => [new View(name, 'x'), new View('x', name)])
  const of = (view: View) => JSON.stringify([view.store.tenant, view.store.name])
  const distinct = [...new Map(stores.map((view) => [of(view), view])).values()]
  parts.proxy.clear()
  const each = async (work: (view: View) => Promise<void>) => {
    const queue = distinct.values()
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (const view of queue) await work(view)
      }),
    )
  }
  await each(async (view) => expect((await view.push(chain(0, 10, { of: of(view) }))).status).toBe(200))
  await each(async (view) => expect(await view.whose()).toEqual([of(view)]))
  await each(async (view) => expect(await view.whose()).toEqual([of(view)]))
  const streams = new Set(parts.proxy.requests.filter(({ method }) => method === 'PUT').map((request) => request.path))
  expect(streams.size).toBe(distinct.length)
  for (const stream of streams)
    expect(stream).toMatch(/^\/v1\/stream\/[A-Za-z0-9~-][A-Za-z0-9._~-]{0,199}\/[A-Za-z0-9~-][A-Za-z0-9._~-]{0,199}$/)
})

test('a path with dots or odd slashes needs a token for the store at which it ends', async () => {
  const headers = bearer(ticket('acme', ['notes']))
  for (const wandering of [
    '/v1/stream/acme/../globex/notes',
    '/v1/stream/acme/%2e%2e/globex/notes',
    '/v1/stream/acme/.%2e/globex/notes',
    '/v1/stream/acme\\..\\globex/notes',
    '//v1/stream/globex/notes',
    '/v1/stream//globex/notes',
    '/v1/stream/acme/notes/../../globex/notes',
    '/v1/stream/globex/notes?tenant=acme',
    '/v1/stream/globex%2Fnotes',
    '/v1/stream/acme%2F..%2Fglobex/notes',
    '/v1/stream/globex/notes#/acme/notes',
    '/V1/stream/acme/notes',
    '/v1/stream/acme%00/notes',
    '/v1/stream/acme/notes%00',
    '/v1/stream/acme/notes/',
    '/v1/stream/ acme/notes'.replace(' ', '%20'),
  ]) {
    const { status } = await raw('POST', wandering, headers)
    expect([403, 404], wandering).toContain(status)
  }
  const plain = { ...headers, 'content-type': 'text/plain' }
  expect((await raw('POST', '/v1/stream/acme/./notes', plain)).status).toBe(409)
})
