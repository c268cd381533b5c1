// The cache of a real browser, and a generic client of the protocol in a page: a reset never mixes two logs.

import { build } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Server, startRustUpstream, startWorker } from '../harness/index.ts'
import { numbers } from '../support/events.ts'
import { chain, Store } from '../support/store.ts'
import { launchBrowser } from './device.ts'

let upstream: Server
let worker: Server
let browser: Browser
let client: string
beforeAll(async () => {
  upstream = await startRustUpstream()
  worker = await startWorker({ upstreamUrl: upstream.url })
  browser = await launchBrowser()
  const bundled = await build({
    stdin: { contents: "export { stream } from '@durable-streams/client'", resolveDir: import.meta.dirname },
    bundle: true,
    format: 'iife',
    globalName: 'durableStreams',
    platform: 'browser',
    write: false,
  })
  client = bundled.outputFiles[0]?.text ?? ''
}, 120_000)
afterAll(async () => {
  await browser?.close()
  await worker?.stop()
  await upstream?.stop()
})

/** What the protocol's own client reads in the page, from the start up to the tail: each event as `log:seqNum`. */
const read = (page: Page, url: string): Promise<string[]> =>
  page.evaluate(async (url) => {
    type Message = { readonly seqNum?: number; readonly args?: { readonly log: string } }
    const { stream } = (globalThis as unknown as { durableStreams: typeof import('@durable-streams/client') })
      .durableStreams
    const response = await stream<Message>({ url, offset: '-1' })
    const messages = await response.json()
    return messages.flatMap(({ seqNum, args }) => (seqNum === undefined ? [] : [`${args?.log}:${seqNum}`]))
  }, url)

test('a page that read a history before a reset reads the whole new one after it', async () => {
  const store = new Store({ upstream, worker })
  const fill = async (log: string, events: number, padding: string) => {
    for (let head = 0; head < events; head += 100) await store.pushed(chain(head, 100, { log, padding }))
  }
  const page = await browser.newPage()
  const open = async () => {
    await page.goto(`${worker.url}/health`)
    await page.addScriptTag({ content: client })
  }
  const named = (log: string, events: number) => numbers(1, events).map((seqNum) => `${log}:${seqNum}`)
  await fill('old', 1_500, 'x'.repeat(1_000))
  await open()
  expect(await read(page, store.url)).toEqual(named('old', 1_500))
  const old = await store.currentIncarnation()
  expect(await read(page, old.url)).toEqual(named('old', 1_500))

  expect((await store.request('DELETE')).status).toBe(204)
  await fill('new', 2_000, 'y'.repeat(500))
  expect(await read(page, store.url)).toEqual(named('new', 2_000))
  await expect(read(page, old.url)).rejects.toThrow()
  await open()
  expect(await read(page, store.url)).toEqual(named('new', 2_000))
}, 120_000)
