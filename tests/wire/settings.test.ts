// Other deployments: one without an edge cache, as on workers.dev, and one with a wrong setting.
import { expect, test } from 'vitest'
import { checkChain } from '../support/events.ts'
import { chain, type Page, Store, walk } from '../support/store.ts'
import { JWT } from '../support/tokens.ts'
import { useDeployments } from './parts.ts'

const { parts, deploy } = useDeployments()

const readAll = async (store: Store): Promise<Page[]> => {
  const pages = await walk(store)
  checkChain(pages.flatMap(({ events }) => events))
  return pages
}

const sum = (numbers: readonly number[]) => numbers.reduce((sum, number) => sum + number, 0)

test('without an edge cache a history comes in the same pages, and each upstream read ends with its page', async () => {
  await deploy({}, { cache: false })
  const store = new Store(parts)
  // Longer than what the buffers on the way to a reader may hold, also on a busy machine
  for (let head = 0; head < 20_000; head += 100) await store.pushed(chain(head, 100, { text: 'x'.repeat(2_000) }))
  await store.pushed(chain(20_000, 1))
  const before = await parts.worker.memory()
  for (const first of ['MISS', 'BYPASS']) {
    parts.proxy.clear()
    const pages = await readAll(store)
    const total = sum(pages.map(({ bytes }) => bytes))
    const sent = parts.proxy.requests.map((request) => request.sent)
    expect(sum(pages.map(({ events }) => events.length))).toBe(20_001)
    expect(pages.length).toBeGreaterThan(30)
    for (const { bytes } of pages) expect(bytes).toBeLessThan(1.3 * 2 ** 20)
    // A page from a cut read is final for the reader as well.
    expect(pages.map(({ cache }) => cache)).toEqual([...pages.slice(1).map(() => first), 'BYPASS'])
    expect(new Set(pages.slice(0, -1).map(({ headers }) => headers.get('cache-control')))).toEqual(
      new Set(['private, no-cache']),
    )
    expect(parts.proxy.count({ method: 'GET' })).toBe(pages.length)
    console.log(
      `${first}: ${pages.length} pages of a log of ${total} bytes; one read made the upstream send ${Math.max(...sent)} at most`,
    )
    // The page and the content of two connections' buffers, but not the rest of the log.
    expect(Math.max(...sent)).toBeLessThan(total / 2)
  }
  expect((await parts.worker.memory()) - before).toBeLessThan(64 * 2 ** 20)
}, 60_000)

test('without an edge cache a log that contradicts its index breaks the page off, and later reads pass through', async () => {
  await deploy({ SEGMENT_EVENTS: '20' }, { cache: false })
  const store = new Store(parts)
  for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
  // The Worker gathers the first pages, and passes the second ones on while it reads them.
  expect((await readAll(store)).length).toBe(3)
  expect((await readAll(store)).map(({ cache }) => cache)).toEqual(['BYPASS', 'BYPASS', 'BYPASS'])
  const bytes = await (await fetch(`${store.upstreamUrl}?offset=-1`)).text()
  await fetch(store.upstreamUrl, { method: 'DELETE' })
  const forged = bytes.replace('"seqNum":9,', '"seqNum":8,')
  await fetch(store.upstreamUrl, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: forged })

  const broken = await store.read()
  expect([broken.status, broken.headers.get('x-cache')]).toEqual([200, 'BYPASS'])
  await expect(broken.text()).rejects.toThrow()
  const passed = await store.read()
  expect([
    passed.headers.get('x-cache'),
    passed.headers.get('cache-control'),
    passed.headers.has('stream-up-to-date'),
  ]).toEqual(['BYPASS', 'no-store', true])
  expect(await passed.text()).toBe(forged)
})

test.each<[setting: string, value: string, others?: Record<string, string>]>([
  ['SEGMENT_BYTES', '1MB'],
  ['SEGMENT_BYTES', '8388608'],
  ['SEGMENT_EVENTS', '0'],
  ['MAX_BATCH_EVENTS', 'many'],
  ['UPSTREAM_URL', 'localhost:4437'],
  ['UPSTREAM_TIMEOUT_MS', '-1'],
  ['UPSTREAM_URL', 'https://user:password@streams.example.com'],
  ['UPSTREAM_URL', 'https://'],
  ['UPSTREAM_URL', 'https://streams-{shard}.example.com'],
  ['UPSTREAM_URL', 'https://streams-{shard:33}.example.com'],
  ['MAX_NAME_BYTES', '5000'],
  ['MAX_BATCH_BYTES', '16777216'],
  ['LOG_REQUESTS', 'some'],
  ['INSPECTOR', 'yes'],
  ['ALLOWED_HEADERS', 'x-trace,'],
  ['ALLOWED_HEADERS', 'x-trace, x trace'],
  ['AUTH_MODE', 'maybe'],
  ['AUTH_MODE', 'jwt'],
  ['JWT_SECRET', 'short', JWT],
  ['JWT_JWKS', '{"keys":[]}', JWT],
  ['JWT_JWKS', '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', JWT],
  ['JWT_JWKS', 'keys', JWT],
  ['JWT_JWKS_URL', 'http://issuer.example.com/jwks', JWT],
  ['JWT_JWKS_URL', 'issuer.example.com', JWT],
  ['JWT_ISSUER', ' ', JWT],
  ['JWT_AUDIENCE', ',', JWT],
  ['JWT_AUDIENCE', 'one,', JWT],
  ['JWT_HEADER', 'a b', JWT],
])('a wrong %s (%s) is refused by name', async (setting, value, others: Record<string, string> = {}) => {
  await deploy({ ...others, [setting]: value })
  const response = await new Store(parts).read()
  expect(response.status).toBe(500)
  expect(await response.json()).toMatchObject({
    _tag: 'MisconfiguredError',
    setting,
    detail: expect.stringContaining(setting),
  })
})
