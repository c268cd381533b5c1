// The self-hosted Worker as on a server: from a packed folder, in plain workerd, with its data on disk.
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Child } from '../../scripts/lib/child.mjs'
import { packSelfhost } from '../../scripts/lib/selfhost.mjs'
import { launch } from '../../scripts/lib/services.mjs'
import { freePort, makeFolder, removeFolder, type Server, startRustUpstream } from '../harness/index.ts'
import { chain, Store } from '../support/store.ts'
import { JWT } from '../support/tokens.ts'

let folder: string
let upstream: Server
let worker: Child | undefined
let url: string

beforeAll(async () => {
  folder = await makeFolder('selfhost')
  packSelfhost(folder)
  upstream = await startRustUpstream()
  url = `http://127.0.0.1:${await freePort()}`
})
afterEach(() => worker?.kill())
afterAll(async () => {
  await upstream?.stop()
  await removeFolder(folder)
})

/** The environment has only these settings. */
const start = async (settings: NodeJS.ProcessEnv = {}) => {
  worker = await launch({
    name: 'workerd',
    command: join(folder, 'workerd'),
    args: ['serve', 'headwater.capnp', `--socket-addr=http=${new URL(url).host}`, `--directory-path=objects=${folder}`],
    env: { PATH: process.env['PATH'], UPSTREAM_URL: upstream.url, ...settings },
    cwd: folder,
    url,
    readyUrl: `${url}/health`,
    isReady: (status) => status === 200,
  })
}

const store = () => new Store({ worker: { url }, upstream }, { name: 'selfhosted' })
const push = (events: unknown[]) => store().push(events)
const identity = async () => {
  const { headers } = await store().request('HEAD')
  return [headers.get('livestore-head'), headers.get('livestore-backend-id')]
}

test('pushed events are there after a crash, and a stale push is refused as before', async () => {
  await start()
  expect((await push(chain(0, 3))).status).toBe(200)
  expect((await push(chain(3, 2))).status).toBe(200)
  const before = await identity()
  expect(before).toEqual(['5', expect.any(String)])

  await worker?.kill()
  await start()

  expect(await identity()).toEqual(before)
  expect((await store().events()).map(({ seqNum }) => seqNum)).toEqual([1, 2, 3, 4, 5])
  const stale = await push(chain(3, 1, { text: 'another' }))
  expect(stale.status).toBe(409)
  expect(await stale.json()).toMatchObject({ _tag: 'ServerAheadError', minimumExpectedNum: 6 })
  expect((await push(chain(5, 1))).status).toBe(200)
})

test('a second read of sealed history comes from the cache', async () => {
  await start({ SEGMENT_EVENTS: '100' })
  for (let head = 6; head < 300; head += 50) expect((await push(chain(head, 50))).status).toBe(200)
  const read = async () => {
    const response = await store().read()
    await response.arrayBuffer()
    return response.headers.get('x-cache')
  }
  expect(await read()).toBe('MISS')
  await expect.poll(read, { timeout: 10_000 }).toBe('HIT')
})

test('settings come from the environment: with AUTH_MODE=jwt a read needs a token', async () => {
  await start(JWT)
  expect((await store().read()).status).toBe(401)
})

test('a new version can be packed over a running one', async () => {
  await start()
  packSelfhost(folder)
  await worker?.kill()
  await start()
})

test('the inspector answers if INSPECTOR is on', async () => {
  await start({ INSPECTOR: 'on' })
  const page = await fetch(`${url}/inspect`)
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
  expect(await page.text()).toContain('/inspect/inspector.js')
  expect(await (await fetch(`${url}/inspect/api/acme/selfhosted`)).json()).toMatchObject({ store: { state: 'ready' } })
})
