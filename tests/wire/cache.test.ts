// The Worker's use of the edge cache: its keys, and its reads when the cache does not keep one of them.

import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { isNext } from '../../client/src/protocol/index.js'
import type { Child } from '../../scripts/lib/child.mjs'
import { launch } from '../../scripts/lib/services.mjs'
import { toolEnv } from '../../scripts/lib/tools.mjs'
import { edgeCache, headwaterFiles, workerd } from '../../scripts/lib/workerd.mjs'
import {
  type CountingProxy,
  freePort,
  makeFolder,
  removeFolder,
  type Server,
  startCountingProxy,
  startRustUpstream,
} from '../harness/index.ts'
import { checkChain } from '../support/events.ts'
import { chain, type Event, type Page, Store, walk } from '../support/store.ts'

/** The cache of a self-hosted server. A test can ask it for its keys, and have it refuse keys that contain a text. */
const WATCHED_CACHE = `
const keys = []
let refused
export default {
  async fetch(request) {
    const url = new URL(request.url)
    if (url.pathname === '/test/keys') return Response.json(keys)
    if (url.pathname === '/test/refuse') return (refused = url.searchParams.get('key')), new Response()
    if (request.method === 'PUT') {
      if (refused && request.url.includes(refused)) return new Response(null, { status: 500 })
      keys.push(request.url)
    }
    return cache.fetch(request)
  },
}
`

let folder: string, upstream: Server, proxy: CountingProxy, worker: Child, url: string, cacheUrl: string

beforeAll(async () => {
  folder = await makeFolder('cache')
  upstream = await startRustUpstream()
  proxy = await startCountingProxy(upstream.url)
  await mkdir(join(folder, 'objects'))
  for (const file of headwaterFiles) await copyFile(file, join(folder, basename(file)))
  const cache = (await readFile(edgeCache, 'utf8')).replace('export default {', 'const cache = {')
  await writeFile(join(folder, basename(edgeCache)), cache + WATCHED_CACHE)
  const config = await readFile(join(folder, 'headwater.capnp'), 'utf8')
  const watched = config.replace('sockets = [', 'sockets = [ (name = "cache", http = (), service = "edge-cache"),')
  await writeFile(join(folder, 'headwater.capnp'), watched)
  url = `http://127.0.0.1:${await freePort()}`
  cacheUrl = `http://127.0.0.1:${await freePort()}`
  worker = await launch({
    name: 'workerd',
    command: workerd,
    args: [
      'serve',
      'headwater.capnp',
      `--socket-addr=http=${new URL(url).host}`,
      `--socket-addr=cache=${new URL(cacheUrl).host}`,
      `--directory-path=objects=${join(folder, 'objects')}`,
    ],
    env: { ...toolEnv(), UPSTREAM_URL: proxy.url, SEGMENT_EVENTS: '10' },
    cwd: folder,
    url,
    readyUrl: `${url}/health`,
    isReady: (status) => status === 200,
  })
})
afterEach(() => refuse(''))
afterAll(async () => {
  await worker?.kill()
  await proxy?.stop()
  await upstream?.stop()
  await removeFolder(folder)
})

const refuse = (key: string) => fetch(`${cacheUrl}/test/refuse?key=${encodeURIComponent(key)}`)
const keys = async () => (await (await fetch(`${cacheUrl}/test/keys`)).json()) as string[]

/** A store with a history of four segments and no tail. The last of them says that it ends at the tail. */
const filled = async (origin = url) => {
  const store = new Store({ worker: { url: origin }, upstream })
  for (let head = 0; head < 40; head += 10) await store.pushed(chain(head, 10))
  return store
}

const readAll = async (store: Store): Promise<Page[]> => {
  const pages = await walk(store)
  checkChain(
    pages.flatMap(({ events }) => events),
    isNext,
  )
  return pages
}
const caches = async (store: Store) => (await readAll(store)).map(({ cache }) => cache)

test('every cache key has the host of the request, and each host has its own keys', async () => {
  const store = await filled()
  expect(await caches(store)).toEqual(['MISS', 'HIT', 'HIT', 'HIT'])
  const other = new Store({ worker: { url: url.replace('127.0.0.1', 'localhost') }, upstream }, store)
  expect(await caches(other)).toEqual(['MISS', 'HIT', 'HIT', 'HIT'])
  expect(await caches(store)).toEqual(['HIT', 'HIT', 'HIT', 'HIT'])
  const hosts = (await keys()).filter((key) => key.includes(store.name)).map((key) => new URL(key).host)
  expect(hosts).toEqual([...Array(4).fill('127.0.0.1'), ...Array(4).fill('localhost')])
})

test('a segment that the cache does not keep is read from the log, and other segments and stores are not', async () => {
  const [store, neighbour] = [await filled(), await filled()]
  await refuse(`${store.name}/-1`)
  const first = await readAll(store)
  expect(first.map(({ cache }) => cache)).toEqual(['MISS', 'MISS', 'HIT', 'HIT'])
  // The Worker does not try it again, though the cache would keep it now.
  await refuse('')
  expect(await caches(store)).toEqual(['BYPASS', 'HIT', 'HIT', 'HIT'])
  expect(await caches(neighbour)).toEqual(['MISS', 'HIT', 'HIT', 'HIT'])
  expect(await caches(neighbour)).toEqual(['HIT', 'HIT', 'HIT', 'HIT'])
})

test('a segment in the middle that the cache does not keep costs only itself', async () => {
  const store = await filled()
  const second = (await readAll(await filled()))[0]?.next ?? ''
  await refuse(`${store.name}/${second}`)
  expect(await caches(store)).toEqual(['MISS', 'MISS', 'HIT', 'HIT'])
  expect(await caches(store)).toEqual(['HIT', 'BYPASS', 'HIT', 'HIT'])
})

test('reads of more stores than may fill the cache at once succeed all the same', async () => {
  const stores = await Promise.all(Array.from({ length: 20 }, () => filled()))
  proxy.clear()
  const held = stores.map((store) => proxy.next({ method: 'GET', path: store.name }, 'hold response'))
  const reading = stores.map((store) => store.read())
  await Promise.all(held.map(({ met }) => met))
  for (const one of held) one.release()
  const pages = await Promise.all(reading)
  const sources = pages.map(({ headers }) => headers.get('x-cache'))
  expect(sources.filter((source) => source === 'MISS').length).toBe(16)
  expect(sources.filter((source) => source === 'BYPASS').length).toBe(4)
  for (const page of pages) {
    expect(page.headers.get('stream-up-to-date')).toBeNull()
    expect(
      ((await page.json()) as Event[]).filter((message) => 'seqNum' in message).map(({ seqNum }) => seqNum),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  }
  // The next reader fills the cache with the rest.
  for (const store of stores) expect((await caches(store)).slice(1)).toEqual(['HIT', 'HIT', 'HIT'])
})
