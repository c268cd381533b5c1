// Where there is no edge cache, as on workers.dev: everything works, and nothing is read for nothing.
import { join } from 'node:path'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { startCountingProxy, startRustUpstream } from '../harness/index.ts'
import { chain, type Parts, Store } from './support.ts'

const parts = {} as Parts
let miniflare: Miniflare

beforeAll(async () => {
  parts.upstream = await startRustUpstream()
  parts.proxy = await startCountingProxy(parts.upstream.url)
  miniflare = new Miniflare(convertV4MiniflareOptions({
    rootPath: join(root, 'build'),
    modules: [
      { type: 'ESModule', path: 'index.js' },
      { type: 'CompiledWasm', path: 'index_bg.wasm' },
    ],
    compatibilityDate: '2026-10-01',
    durableObjects: { SEQUENCER: { className: 'Sequencer', useSQLite: true } },
    bindings: { UPSTREAM_URL: parts.proxy.url, SEGMENT_BYTES: '100000' },
    cacheAPI: false,
  }))
  const url = (await miniflare.ready).origin
  parts.worker = { url } as Parts['worker']
})
afterAll(async () => {
  await miniflare?.dispose()
  await parts.proxy?.stop()
  await parts.upstream?.stop()
})

test('a history is read in two pages at most, and sent hardly more than twice', async () => {
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
