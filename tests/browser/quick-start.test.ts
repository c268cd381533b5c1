// docs/quick-start.md: its files make an app that syncs.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runChild } from '../../scripts/lib/child.mjs'
import { launch } from '../../scripts/lib/services.mjs'
import { node, root, toolEnv, vite } from '../../scripts/lib/tools.mjs'
import { freePort, makeFolder, removeFolder, type Server, startRustUpstream, startWorker } from '../harness/index.ts'
import { read } from '../support/pages.ts'
import { launchBrowser } from './device.ts'

/** The page gives the name of each file before its content. */
const files = new Map(
  [...read('docs/quick-start.md').matchAll(/^`([\w./-]+)`\n\n```\w+\n(.*?)^```$/gms)].map(
    ([, name = '', text = '']) => [name, text],
  ),
)

let folder: string
let upstream: Server
let worker: Server
let browser: Browser
beforeAll(async () => {
  // Below the root, so that the app finds the packages there.
  folder = await makeFolder('quick-start', join(root, '.data'))
  upstream = await startRustUpstream()
  worker = await startWorker({ upstreamUrl: upstream.url })
  browser = await launchBrowser()
})
afterAll(async () => {
  await browser?.close()
  await worker?.stop()
  await upstream?.stop()
  await removeFolder(folder)
})

const run = (name: string, args: string[]) =>
  runChild({ name, command: node, args, env: { ...toolEnv(), NODE_ENV: 'production' }, cwd: folder }) // vitest says 'test'

test('the quick start has the versions that the to-do app is tested with', async () => {
  const versions = (json: string) => {
    const { dependencies, devDependencies } = JSON.parse(json)
    return { ...dependencies, ...devDependencies } as Record<string, string>
  }
  const { 'livestore-sync-durable-streams': provider, ...others } = versions(files.get('package.json')!)
  const tested = versions(await readFile(join(root, 'examples/todo/package.json'), 'utf8'))
  const { version } = JSON.parse(await readFile(join(root, 'client/package.json'), 'utf8'))
  expect(provider).toBe(`file:livestore-sync-durable-streams-${version}.tgz`)
  expect(tested).toMatchObject(others)
})

test('the quick start’s app type-checks, builds, and syncs between two devices', async () => {
  const url = 'http://127.0.0.1:8787'
  for (const [name, text] of files) {
    await mkdir(join(folder, dirname(name)), { recursive: true })
    await writeFile(join(folder, name), text.replaceAll(url, worker.url))
  }
  expect(files.get('src/livestore.worker.ts')).toContain(url)
  await run('tsc', [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'])
  await run('vite build', [vite, 'build'])
  const port = await freePort()
  const app = `http://127.0.0.1:${port}`
  // Vite's cache is empty, as for `npm run dev` of a new app.
  const server = await launch({
    name: 'app',
    command: node,
    args: [vite, '--port', String(port), '--strictPort'],
    env: { ...toolEnv(), NODE_ENV: 'development' }, // vitest says 'test'
    cwd: folder,
    url: app,
    readyUrl: app,
    isReady: (status) => status === 200,
  })
  try {
    const surprises: string[] = []
    const open = async (host: string) => {
      const page = await browser.newPage()
      page.setDefaultTimeout(20_000)
      page.on('pageerror', (error) => surprises.push(`${host}: ${error}`))
      await page.goto(`http://${host}:${port}`)
      page.on('framenavigated', () => surprises.push(`${host}: reloaded`))
      return page
    }
    const [a, b] = await Promise.all([open('127.0.0.1'), open('localhost')])
    await a.getByLabel('Your entry').fill('from the one')
    await a.getByRole('button', { name: 'Write' }).click()
    await b.getByText('from the one').waitFor()
    await b.getByLabel('Your entry').fill('from the other')
    await b.getByLabel('Your entry').press('Enter')
    await a.getByText('from the other').waitFor()
    expect(surprises).toEqual([])
  } finally {
    await server.kill()
  }
}, 120_000)
