// The example app on a WebSocket in a real browser, and on a network that lets none through.
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { answers, makeStranger, type RecordedRequest } from '../harness/index.ts'
import { logOf } from '../support/events.ts'
import { startWorld, type World } from '../support/world.ts'
import { startTodoApp, type TodoApp } from './app.ts'
import { allSee, type Device, launchBrowser, openDevice } from './device.ts'

const SYNCED = { badge: 'In sync', pending: 0 }

let world: World
let app: TodoApp
let browser: Browser
let storeId: string
let stores = 0
const open = new Set<Device>()

beforeAll(async () => {
  world = await startWorld()
  app = await startTodoApp(world.network.url)
  browser = await launchBrowser()
}, 120_000)
afterAll(async () => {
  await browser?.close()
  await app?.stop()
  await world?.stop()
})
beforeEach(() => {
  storeId = `sockets-${++stores}`
  world.network.inject()
})
afterEach(async () => {
  for (const device of open) await device.close()
  open.clear()
})

const device = async (name: string): Promise<Device> => {
  const opened = await openDevice(browser, name, `${app.url}/?store=${storeId}`)
  open.add(opened)
  return opened
}
const logged = async () => logOf(await world.atUpstream(storeId, 'todo').messages()).length

/** The live reads of the test's store. */
const lives = (live: string): RecordedRequest[] =>
  world.network.requests.filter(({ path, query }) => path.includes(storeId) && query.get('live') === live)
const pushes = () => world.network.requests.filter(({ method, path }) => method === 'POST' && path.endsWith(storeId))

test('two devices show each other’s changes over one WebSocket each', async () => {
  const [a, b] = await Promise.all([device('a'), device('b')])
  await a.add('milk')
  await allSee([a, b], { todos: ['milk'], ...SYNCED })
  await expect.poll(() => lives('websocket').map(({ status }) => status)).toEqual([101, 101])
  for (const { sockets } of [a, b]) {
    expect(sockets.map((_) => [_.url().split(':')[0], _.isClosed()])).toEqual([['ws', false]])
    expect(sockets[0]?.url()).toMatch(new RegExp(`/v1/stream/todo/${storeId}\\?live=websocket$`))
  }
  for (const { headers } of lives('websocket')) {
    expect(headers['user-agent']).toContain('Chrome')
    expect(headers.origin).toBe(app.url)
    expect(headers['sec-websocket-protocol']).toBe('headwater.v1')
  }
  const byHttp = pushes().length
  await b.add('bread')
  await b.complete('milk')
  await allSee([a], { todos: ['milk', 'bread'], completed: ['milk'] })
  await a.edit('bread', 'rye bread')
  await allSee([a, b], { todos: ['milk', 'rye bread'], head: 4, ...SYNCED })
  // The first pushes may come before the sockets are open
  expect([pushes().length - byHttp, lives('websocket').length, lives('sse').length]).toEqual([0, 2, 0])
  expect(await logged()).toBe(4)
})

test('sockets that are cut are opened again, and no change is lost', async () => {
  const [a, b] = await Promise.all([device('a'), device('b')])
  await a.add('before')
  await allSee([a, b], { todos: ['before'], ...SYNCED })
  world.network.setOnline(false)
  await allSee([a, b], { badge: 'Offline' })
  await Promise.all([a.add('meanwhile'), b.add('meanwhile, too')])
  world.network.setOnline(true)
  await allSee([a, b], { head: 3, ...SYNCED })
  await expect.poll(() => lives('websocket').filter(({ status }) => status === 101).length).toBe(4)
  expect([a, b].map(({ sockets }) => sockets.filter((_) => !_.isClosed()).length)).toEqual([1, 1])
  const { todos } = await a.see()
  await allSee([b], { todos })
  expect(await logged()).toBe(3)
})

test('where no WebSocket gets through, the app follows by SSE, and changes still arrive', async () => {
  makeStranger(world.network).comes(answers.page(403), { live: 'websocket' })
  const [a, b] = await Promise.all([device('a'), device('b')])
  await a.add('milk')
  await allSee([a, b], { todos: ['milk'], ...SYNCED })
  await expect.poll(() => lives('sse').filter(({ status }) => status === 200).length).toBe(2)
  await b.add('bread')
  await allSee([a], { todos: ['milk', 'bread'] })
  await a.complete('bread')
  await allSee([a, b], { completed: ['bread'], head: 3, ...SYNCED })
  expect(new Set(lives('websocket').map(({ status }) => status))).toEqual(new Set([403]))
  for (const { page } of [a, b]) expect(await page.getByRole('alert').count()).toBe(0)
  expect(lives('long-poll')).toEqual([])
  expect(await logged()).toBe(3)
})
