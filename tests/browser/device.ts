// A device: a browser profile of its own with the app open in it. The test uses the app as a person would.
import { existsSync } from 'node:fs'
import { type Browser, type BrowserContext, chromium, type Page, type WebSocket } from 'playwright-core'
import { expect } from 'vitest'

const DEBIANS = '/usr/bin/chromium'

/** Debian's Chromium, or else the one that Playwright's installer brings (scripts/setup.sh). */
export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({
    ...(existsSync(DEBIANS) ? { executablePath: DEBIANS } : {}),
    args: [
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-quic',
      '--disable-sync',
      '--no-first-run',
    ],
  })

/** The user's view. */
export interface Seen {
  readonly todos: readonly string[]
  readonly completed: readonly string[]
  readonly badge: string
  readonly pending: number
  readonly head: number
}

export interface Device {
  readonly name: string
  readonly page: Page
  /** The WebSockets of a window that the test opened. */
  readonly sockets: readonly WebSocket[]
  readonly add: (text: string) => Promise<void>
  readonly complete: (text: string) => Promise<void>
  readonly edit: (text: string, to: string) => Promise<void>
  readonly remove: (text: string) => Promise<void>
  readonly setOffline: (offline: boolean) => Promise<void>
  readonly see: () => Promise<Seen>
  /** Another window of the same browser. */
  readonly openWindow: () => Promise<Device>
  /** The second device that the app links to. */
  readonly openSecondDevice: () => Promise<Device>
  readonly close: () => Promise<void>
}

export const openDevice = async (browser: Browser, name: string, url: string): Promise<Device> => {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 } })
  context.setDefaultTimeout(20_000)
  return openWindow(context, name, url)
}

const openWindow = async (context: BrowserContext, name: string, url: string): Promise<Device> => {
  const page = await context.newPage()
  const sockets: WebSocket[] = []
  page.on('websocket', (socket) => sockets.push(socket))
  await page.goto(url)
  return inPage(page, name, url, sockets)
}

const inPage = async (page: Page, name: string, url: string, sockets: WebSocket[] = []): Promise<Device> => {
  page.on('pageerror', (error) => console.log(`${name}: ${error}`))
  const input = page.getByLabel('New to-do')
  await input.waitFor()
  const number = async (term: string) => Number(await page.locator('dt', { hasText: term }).locator('+ dd').innerText())
  return {
    name,
    page,
    sockets,
    add: async (text) => {
      await input.fill(text)
      await input.press('Enter')
    },
    complete: (text) => page.getByLabel(`Done: ${text}`, { exact: true }).check(),
    edit: async (text, to) => {
      await page.getByRole('button', { name: text, exact: true }).click()
      await page.getByLabel(`Edit: ${text}`, { exact: true }).fill(to)
      await page.keyboard.press('Enter')
    },
    remove: (text) => page.getByLabel(`Delete: ${text}`, { exact: true }).click(),
    setOffline: (offline) => page.getByRole('switch').setChecked(offline),
    see: async () => ({
      todos: await page.locator('.todos button.text').allInnerTexts(),
      completed: await page.locator('.todos .completed button.text').allInnerTexts(),
      badge: await page.getByRole('status').innerText(),
      pending: await number('Pending'),
      head: await number('Head'),
    }),
    openWindow: () => openWindow(page.context(), `${name}'s other window`, url),
    openSecondDevice: async () => {
      const opened = page.context().waitForEvent('page')
      await page.getByRole('link', { name: 'Second device' }).click()
      return inPage(await opened, `${name}'s second device`, url)
    },
    close: () => page.context().close(),
  }
}

/** Waits until every device shows this. */
export const allSee = async (devices: readonly Device[], expected: Partial<Seen>): Promise<void> => {
  for (const device of devices)
    await expect.poll(device.see, { message: device.name, timeout: 20_000 }).toMatchObject(expected)
}
