// Other deployments: one without an edge cache, as on workers.dev, and one set up wrongly.
import { expect, test } from 'vitest'
import { chain, Store, useDeployments } from './support.ts'

const { parts, deploy } = useDeployments()

test('without an edge cache a history is read in two pages, and nothing is read for nothing', async () => {
  await deploy({ SEGMENT_BYTES: '100000' }, { cache: false })
  const store = new Store(parts)
  for (let head = 0; head < 3_000; head += 100) await store.pushed(chain(head, 100, { text: 'x'.repeat(300) }))
  parts.proxy.clear()
  let events = 0
  const caches: (string | null)[] = []
  for (let offset = '-1', upToDate = false; !upToDate; ) {
    const response = await store.read(`offset=${offset}`)
    events += ((await response.json()) as object[]).filter((message) => 'seqNum' in message).length
    caches.push(response.headers.get('x-cache'))
    offset = response.headers.get('stream-next-offset') ?? ''
    upToDate = response.headers.has('stream-up-to-date')
  }
  expect(events).toBe(3_000)
  expect(caches).toEqual(['MISS', 'BYPASS'])
  expect(parts.proxy.count({ method: 'GET' })).toBe(2)
  expect((await store.read('offset=-1')).headers.get('x-cache')).toBe('BYPASS')
})

const JWT = { AUTH_MODE: 'jwt', JWT_SECRET: 'a secret of this test, long enough for its hash' }

test.each<[setting: string, value: string, others?: Record<string, string>]>([
  ['SEGMENT_BYTES', '1MB'],
  ['SEGMENT_BYTES', '8388608'],
  ['SEGMENT_EVENTS', '0'],
  ['MAX_BATCH_EVENTS', 'many'],
  ['UPSTREAM_URL', 'localhost:4437'],
  ['UPSTREAM_TIMEOUT_MS', '-1'],
  ['UPSTREAM_URL', 'https://user:password@streams.example.com'],
  ['UPSTREAM_URL', 'https://'],
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
])('a wrong %s (%s) is named', async (setting, value, others: Record<string, string> = {}) => {
  await deploy({ ...others, [setting]: value })
  const response = await new Store(parts).read()
  expect(response.status).toBe(500)
  expect(await response.json()).toMatchObject({ _tag: 'MisconfiguredError', setting, detail: expect.stringContaining(setting) })
})
