// The example app in a real browser, on a real Worker and every kind of log: the users' view, with and without faults.
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeStranger, type Server, startWorker } from '../harness/index.ts'
import { logOf } from '../support/events.ts'
import { logs } from '../support/logs.ts'
import { JWT } from '../support/tokens.ts'
import { startWorld, type World } from '../support/world.ts'
import { startTodoApp, type TodoApp } from './app.ts'
import { allSee, type Device, launchBrowser, openDevice } from './device.ts'

const SYNCED = { badge: 'In sync', pending: 0 }

let world: World
/** A test replaces the world's own Worker. */
let worker: Server
let app: TodoApp
let browser: Browser
let storeId: string
let stores = 0
const open = new Set<Device>()

const useWorld = ({ start }: (typeof logs)[number]) => {
  beforeAll(async () => {
    world = await startWorld({ upstream: await start() })
    worker = world.worker
    app = await startTodoApp(world.network.url)
  }, 120_000)
  afterAll(async () => {
    await app?.stop()
    await worker?.stop()
    await world?.stop()
  })
}
beforeAll(async () => {
  browser = await launchBrowser()
}, 120_000)
afterAll(() => browser?.close())
beforeEach(() => {
  storeId = `list-${++stores}`
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
const atUpstream = () => world.atUpstream(storeId, 'todo')
const reset = async () => {
  expect((await fetch(`${worker.url}/v1/stream/todo/${storeId}`, { method: 'DELETE' })).status).toBe(204)
}
const logged = async () => logOf(await atUpstream().messages()).length

describe.each(logs)('with $name', (log) => {
  useWorld(log)

  test('two devices that change the same list offline agree once both are back', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    await a.add('milk')
    await a.add('bread')
    await allSee([a, b], { todos: ['milk', 'bread'], head: 2, ...SYNCED })

    await Promise.all([a, b].map((_) => _.setOffline(true)))
    await allSee([a, b], { badge: 'Offline' })
    await a.edit('milk', 'oat milk')
    await a.add('from a')
    await b.edit('milk', 'soy milk')
    await b.complete('bread')
    await b.add('from b')
    await allSee([a], { todos: ['oat milk', 'bread', 'from a'], completed: [], badge: 'Offline', pending: 2, head: 2 })
    await allSee([b], {
      todos: ['soy milk', 'bread', 'from b'],
      completed: ['bread'],
      badge: 'Offline',
      pending: 3,
      head: 2,
    })

    await Promise.all([a, b].map((_) => _.setOffline(false)))
    await allSee([a, b], { completed: ['bread'], head: 7, ...SYNCED })
    const { todos } = await a.see()
    expect(todos.toSorted()).toEqual(['bread', 'from a', 'from b', expect.stringMatching(/^(oat|soy) milk$/)])
    await allSee([b], { todos })
    expect(await logged()).toBe(7)
  })

  test('while the Worker is down both devices are offline, and afterwards they agree', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    await a.add('before')
    await allSee([a, b], { todos: ['before'], ...SYNCED })
    await worker.kill()
    await allSee([a, b], { badge: 'Offline' })
    await Promise.all([a.add('meanwhile'), b.add('meanwhile, too')])
    await allSee([a, b], { badge: 'Offline', pending: 1 })
    await worker.restart()
    await allSee([a, b], { head: 3, ...SYNCED })
    const { todos } = await a.see()
    expect(todos.toSorted()).toEqual(['before', 'meanwhile', 'meanwhile, too'])
    await allSee([b], { todos })
    expect(await logged()).toBe(3)
  })

  test('a reset: the devices drop what the log had, and follow the new one', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    await a.add('lost')
    await allSee([a, b], { todos: ['lost'], ...SYNCED })
    await reset()
    await a.add('too late')
    await allSee([a, b], { todos: [], head: 0, ...SYNCED })
    await b.add('new')
    await allSee([a, b], { todos: ['new'], head: 1, ...SYNCED })
    expect(await logged()).toBe(1)
  })
  // The rest does not depend on the kind of log
  if (log !== logs[0]) return

  test('two devices show each other’s changes', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    await a.add('milk')
    await allSee([b], { todos: ['milk'] })
    await b.add('bread')
    await b.complete('milk')
    await allSee([a], { todos: ['milk', 'bread'], completed: ['milk'] })
    await a.edit('bread', 'rye bread')
    await allSee([b], { todos: ['milk', 'rye bread'] })
    await b.remove('milk')
    await allSee([a, b], { todos: ['rye bread'], completed: [], head: 5, ...SYNCED })
    expect(await logged()).toBe(5)
  })

  test('a reload keeps everything, also changes that are not sent yet', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    const window = await a.openWindow()
    await a.add('sent')
    await allSee([a, window, b], { todos: ['sent'], ...SYNCED })
    await a.setOffline(true)
    await allSee([a, window], { badge: 'Offline' })
    await a.add('kept')
    await allSee([window], { todos: ['sent', 'kept'], pending: 1 })
    await window.page.close()

    await a.page.reload()
    await allSee([a], { todos: ['sent', 'kept'], badge: 'Offline', pending: 1 })
    await a.setOffline(false)
    await allSee([a, b], { todos: ['sent', 'kept'], head: 2, ...SYNCED })
  })

  test('the second device that the app offers is a device of its own', async () => {
    const a = await device('a')
    await a.add('milk')
    await allSee([a], SYNCED)
    const b = await a.openSecondDevice()
    await allSee([b], { todos: ['milk'], ...SYNCED })
    await a.setOffline(true)
    await allSee([a], { badge: 'Offline' })
    await b.add('bread')
    await allSee([b], { todos: ['milk', 'bread'], ...SYNCED })
    await allSee([a], { todos: ['milk'], badge: 'Offline' })
    await a.setOffline(false)
    await allSee([a], { todos: ['milk', 'bread'], ...SYNCED })
  })

  test('a server that refuses the app for lack of a token: the app says so', async () => {
    const { port } = worker
    await worker.stop()
    worker = await startWorker({
      upstreamUrl: world.upstream.url,
      port,
      vars: JWT,
    })
    try {
      const context = await browser.newContext()
      const page = await context.newPage()
      await page.goto(`${app.url}/?store=${storeId}`)
      const alert = page.getByRole('alert').getByText('The server refuses this device')
      await alert.waitFor({ timeout: 20_000 })
      // The first answer may be to HEAD, and then it has only the kind.
      await expect
        .poll(() => alert.getAttribute('title'), { timeout: 20_000 })
        .toMatch(/^HTTP 401 from .* A bearer token is required/)
      await page.getByRole('status').getByText('Offline').waitFor({ timeout: 20_000 })
      await context.close()
    } finally {
      await worker.stop()
      worker = await startWorker({ upstreamUrl: world.upstream.url, port })
    }
  })

  test('somebody else answers for a while: the app says so, keeps new changes, and sends them afterwards', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    await a.add('before')
    await allSee([a, b], { todos: ['before'], ...SYNCED })
    // The app may read the pages of this gateway. Otherwise the browser would only say that nobody answers
    const cors = {
      'access-control-allow-origin': '*',
      'access-control-allow-headers': '*',
      'access-control-allow-methods': '*',
      'access-control-expose-headers': '*',
    }
    const visit = makeStranger(world.network).comes(() => ({
      status: 200,
      headers: { ...cors, 'content-type': 'text/html' },
      body: '<html>sign in',
    }))
    world.network.abandon()
    await Promise.all([a.add('meanwhile'), b.add('meanwhile, too')])
    await allSee([a, b], { badge: 'Offline', pending: 1 })
    for (const { page } of [a, b])
      await page.getByRole('alert').getByText('Something on this network answers').waitFor()
    visit.leave()
    await allSee([a, b], { head: 3, ...SYNCED })
    for (const { page } of [a, b]) await page.getByRole('alert').waitFor({ state: 'detached' })
    expect(await logged()).toBe(3)
  })

  // Recovery is LiveStore's default, `onBackendIdMismatch: 'reset'`: the log on the server is the truth. A device that finds
  // another log there drops its data. Its app says so and follows the new log. A push notices at once, a live read within a minute
  // (tests/livestore/identity.test.ts).
  test('a log that was deleted at the upstream: the devices keep their data until a reset, and then follow the new log', async () => {
    const [a, b] = await Promise.all([device('a'), device('b')])
    await a.add('lost')
    await allSee([a, b], { todos: ['lost'], ...SYNCED })
    await atUpstream().remove()
    await Promise.all([a.add('too late'), b.add('too late')])
    // No administrator has given the log up.
    await allSee([a, b], { todos: ['lost', 'too late'], pending: 1 })
    await reset()
    await allSee([a, b], { todos: [], head: 0, ...SYNCED })
    for (const { page } of [a, b]) await page.getByRole('alert').getByText('was reset on the server').waitFor()
    await a.add('new')
    await allSee([b], { todos: ['new'] })
    await b.add('newer')
    await allSee([a, b], { todos: ['new', 'newer'], head: 2, ...SYNCED })
    expect(await logged()).toBe(2)
  })
})
