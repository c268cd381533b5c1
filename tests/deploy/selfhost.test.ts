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

const store = (name = 'selfhosted') => new Store({ worker: { url }, upstream }, { name })
const push = (events: unknown[]) => store().push(events)
const identity = async (of = store()) => {
  const { headers } = await of.request('HEAD')
  return [headers.get('livestore-head'), headers.get('livestore-backend-id')]
}

test.each([
  { log: 'at the upstream', name: 'selfhosted', settings: {} },
  { log: 'built in, without a second process', name: 'alone', settings: { UPSTREAM_URL: undefined } },
])(
  'with the log $log, pushed events are there after a crash, and a stale push is refused as before',
  async ({ name, settings }) => {
    await start(settings)
    const own = store(name)
    await own.pushed(chain(0, 3))
    await own.pushed(chain(3, 2))
    const before = await identity(own)
    expect(before).toEqual(['5', expect.any(String)])

    await worker?.kill()
    await start(settings)

    expect(await identity(own)).toEqual(before)
    expect((await own.events()).map(({ seqNum }) => seqNum)).toEqual([1, 2, 3, 4, 5])
    const stale = await own.push(chain(3, 1, { text: 'another' }))
    expect(stale.status).toBe(409)
    expect(await stale.json()).toMatchObject({ _tag: 'ServerAheadError', minimumExpectedNum: 6 })
    await own.pushed(chain(5, 1))
  },
)

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
