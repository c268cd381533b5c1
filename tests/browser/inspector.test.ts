// The inspector in a real browser: the operator's view while clients push.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Server, startRustUpstream, startWorker } from '../harness/index.ts'
import { chain, event, Store } from '../support/store.ts'
import { bearer, hs256, JWT } from '../support/tokens.ts'
import { launchBrowser } from './device.ts'

/** The folder for pictures of the page, for a person to look at. By default the tests take none. */
const PICTURES = process.env['INSPECTOR_PICTURES']

let upstream: Server
let browser: Browser
let worker: Server | undefined
let page: Page
beforeAll(async () => {
  upstream = await startRustUpstream()
  browser = await launchBrowser()
}, 60_000)
afterAll(async () => {
  await browser?.close()
  await upstream?.stop()
})
afterEach(async () => {
  await page?.context().close()
  await worker?.stop()
})

const deploy = async (vars: Record<string, string> = {}) => {
  worker = await startWorker({ upstreamUrl: upstream.url, vars: { INSPECTOR: 'on', ...vars } })
  return { upstream, worker }
}
const openPage = async (query: string) => {
  page = await browser.newPage()
  page.setDefaultTimeout(10_000)
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  page.on('console', (message) => void (message.type() === 'error' && errors.push(message.text())))
  await page.goto(`${worker!.url}/inspect${query}`)
  return errors
}
/** The page asks every 2 seconds. */
const eventually = <T>(read: () => Promise<T>) => expect.poll(read, { timeout: 15_000 })
const figure = (term: string) =>
  page
    .locator('dt', { hasText: new RegExp(`^${term}$`) })
    .locator('+ dd')
    .innerText()
const texts = (selector: string) => page.locator(selector).allInnerTexts()
const pictures = async (name: string) => {
  if (PICTURES === undefined) return
  await mkdir(PICTURES, { recursive: true })
  for (const width of [390, 1280]) {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.setViewportSize({ width, height: 900 })
      await page.emulateMedia({ colorScheme })
      await page.screenshot({ path: join(PICTURES, `${name}-${width}-${colorScheme}.png`), fullPage: true })
    }
  }
}

test('the page shows a store as it changes: head, segments, accepted and refused pushes, events', async () => {
  const parts = await deploy({ SEGMENT_EVENTS: '10' })
  const store = new Store(parts, { name: 'grocery list' })
  for (let head = 0; head < 30; head += 10) await store.pushed(chain(head, 10))
  await (await store.read()).text() // fills the edge cache
  await store.pushed(chain(30, 3))
  const errors = await openPage('?tenant=acme&store=grocery%20list')

  await eventually(() => figure('Head')).toBe('33')
  expect(await figure('State')).toBe('Ready')
  expect(await figure('Sealed segments')).toBe('3')
  await eventually(() => texts('#legend li')).toMatchObject([
    expect.stringMatching(/^in the edge cache here: 3 segments/),
    expect.stringMatching(/^unsealed tail: 3 events/),
  ])
  // The last 20 events, or a few more, because the page begins with a whole append.
  await eventually(async () => (await texts('#events .number')).slice(0, 3)).toEqual(['33', '32', '31'])
  expect(await texts('#pushes .outcome')).toEqual(['accepted', 'accepted', 'accepted', 'accepted'])

  const hostile = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'
  await store.pushed([{ ...event(34, { text: hostile }), name: hostile, clientId: hostile }])
  await eventually(async () => (await texts('#events .number'))[0]).toBe('34')
  await eventually(() => figure('Head')).toBe('34')
  expect((await store.push(chain(3, 1))).status).toBe(409)
  expect((await store.push(chain(0, 101))).status).toBe(422)
  await eventually(async () => (await texts('#pushes .outcome')).slice(0, 3)).toEqual([
    'invalid push',
    'server ahead',
    'accepted',
  ])
  expect((await texts('#pushes li'))[0]).toContain('A batch holds 1 to 100 events')
  await page.locator('#events summary').first().click()
  expect(await page.locator('#events pre').first().innerText()).toContain('onerror')
  expect(await page.locator('#events').locator('img, script').count()).toBe(0)
  expect(await page.evaluate('"hacked" in window')).toBe(false)
  await page.locator('#segments summary').click()
  expect(await texts('#segments tbody tr td:nth-child(4)')).toEqual(['yes', 'yes', 'yes'])
  await pictures('store')

  // A reset begins another incarnation of the store.
  await store.request('DELETE')
  await store.pushed(chain(0, 2))
  await eventually(() => figure('Head')).toBe('2')
  await eventually(() => texts('#events .number')).toEqual(['2', '1'])
  expect(errors).toEqual([])
})

test('the page asks for a token with the scope admin, and names a missing scope', async () => {
  const parts = await deploy(JWT)
  const signed = (scope: string) => hs256({ tenant: 'acme', stores: '*', scope })
  const store = new Store(parts, { name: 'notes' })
  expect((await store.push(chain(0, 2), bearer(signed('write')))).status).toBe(200)
  await openPage('?tenant=acme&store=notes')
  const show = async (scope: string) => {
    await page.getByRole('textbox', { name: 'Token' }).fill(signed(scope))
    await page.getByRole('button', { name: 'Show' }).click()
  }
  await eventually(() => page.getByRole('alert').innerText()).toContain('Enter a token with the scope “admin”')
  await pictures('token')
  await show('read write')
  await eventually(() => page.getByRole('alert').innerText()).toContain('with the scope `admin`')
  await show('admin')
  await eventually(() => figure('Head')).toBe('2')
  await eventually(() => page.locator('#following').innerText()).toContain('`read`')
  expect(await page.locator('#events li').count()).toBe(0)
  await show('admin read')
  await eventually(() => texts('#events .number')).toEqual(['2', '1'])
})

test('the page of a store without a stream creates no stream', async () => {
  const parts = await deploy()
  const store = new Store(parts, { name: 'nothing-yet' })
  await openPage('?tenant=acme&store=nothing-yet')
  await eventually(() => figure('State')).toBe('No stream yet')
  expect((await fetch(store.upstreamUrl, { method: 'HEAD' })).status).toBe(404)
  await store.pushed(chain(0, 1))
  await eventually(() => texts('#events .number')).toEqual(['1'])
})

test('the page of a store whose stream is deleted does not create it again', async () => {
  const parts = await deploy()
  const store = new Store(parts, { name: 'deleted' })
  await store.pushed(chain(0, 2))
  await openPage('?tenant=acme&store=deleted')
  await eventually(() => texts('#events .number')).toEqual(['2', '1'])
  // The test deletes the stream at the upstream. A reset by the Worker would begin a new backend at once.
  expect((await fetch(store.upstreamUrl, { method: 'DELETE' })).status).toBe(204)
  await upstream.restart() // ends the live read
  await eventually(() => figure('State')).toBe('store halted')
  expect((await fetch(store.upstreamUrl, { method: 'HEAD' })).status).toBe(404)
  expect((await store.request('DELETE')).status).toBe(204)
  await store.pushed(chain(0, 1))
  await eventually(() => texts('#events .number')).toEqual(['1'])
})

test('the page keeps unchanged elements in place, and shows a large event only in part', async () => {
  const parts = await deploy()
  const store = new Store(parts, { name: 'large' })
  for (let head = 0; head < 20; head++) await store.pushed([event(head + 1, { text: '€ä\n'.repeat(140_000) })])
  await openPage('?tenant=acme&store=large')
  await eventually(async () => (await texts('#events .number')).length).toBe(20)
  await page.locator('#events summary').first().click()
  expect(await page.locator('#events pre').first().innerText()).toMatch(/^\{\s+"text": "€ä.* … \([\d,]+ characters\)$/s)
  const backendId = page.locator('dt', { hasText: 'Backend id' }).locator('+ dd')
  await backendId.click({ clickCount: 3 })
  const selected = () => page.evaluate<string>('String(getSelection()).trim()')
  expect(await selected()).toBe(await backendId.innerText())
  await store.pushed([event(21)])
  await eventually(() => figure('Head')).toBe('21')
  expect(await selected()).toBe(await backendId.innerText())
})
