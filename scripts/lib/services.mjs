// The servers Headwater runs on, started the same way by `npm start` and by the tests.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from './child.mjs'
import { durableStreamsServer, node, root, toolEnv, vite, wrangler } from './tools.mjs'

const READY_TIMEOUT_MS = 60_000

/**
 * @typedef {import('./child.mjs').Command & { url: string, readyUrl: string, isReady: (status: number) => boolean }} Service
 */

/**
 * The official Rust server, in the mode that answers an append only after it is on disk.
 * @param {{ port: number, dataDir: string }} options
 * @returns {Service}
 */
export function rustUpstream({ port, dataDir }) {
  const url = `http://127.0.0.1:${port}/v1/stream`
  const args = ['--host', '127.0.0.1', '--port', String(port), '--data-dir', dataDir, '--durability', 'wal']
  return {
    name: 'upstream',
    command: durableStreamsServer,
    args,
    env: toolEnv(),
    cwd: root,
    url,
    readyUrl: url,
    isReady: () => true, // it has no health route: any answer will do
  }
}

/**
 * The Worker on workerd. It must have been built; with `rebuild` it follows changes of the sources.
 * @param {{ port: number, upstreamUrl: string, persistTo: string, vars?: Record<string, string>, envFile?: string, rebuild?: boolean, variant?: string }} options
 *   `envFile`: more variables and secrets, which the list of processes need not show; `variant`: the build that `scripts/build.sh <variant>` made
 * @returns {Service}
 */
export function worker({ port, upstreamUrl, persistTo, vars = {}, envFile, rebuild = false, variant }) {
  const url = `http://127.0.0.1:${port}`
  const script = variant === undefined ? [] : [`build-${variant}/index.js`]
  const args = [
    wrangler,
    'dev',
    ...script,
    '--local',
    '--ip',
    '127.0.0.1',
    '--port',
    String(port),
    '--persist-to',
    persistTo,
  ]
  args.push('--show-interactive-dev-session=false')
  if (envFile !== undefined) args.push('--env-file', envFile)
  for (const [name, value] of Object.entries({ UPSTREAM_URL: upstreamUrl, ...vars }))
    args.push('--var', `${name}:${value}`)
  return {
    name: 'worker',
    command: node,
    args,
    env: {
      ...toolEnv(),
      CI: 'true', // asks nothing
      FORCE_COLOR: '0',
      WRANGLER_SEND_METRICS: 'false',
      CLOUDFLARE_CF_FETCH_ENABLED: 'false', // no look-up of the edge location: works offline
      WRANGLER_REGISTRY_PATH: join(persistTo, 'registry'), // Workers of other projects are none of its business
      ...(rebuild ? {} : { HEADWATER_SKIP_BUILD: '1' }),
    },
    cwd: root,
    url,
    readyUrl: `${url}/health`,
    isReady: (status) => status === 200,
  }
}

/**
 * The example app. With `outDir`, the files that `vite build` put there; else from its sources, following their changes.
 * @param {{ port: number, syncUrl: string, outDir?: string }} options `syncUrl`: the Worker's
 * @returns {Service}
 */
export function todoApp({ port, syncUrl, outDir }) {
  const url = `http://127.0.0.1:${port}`
  const from = outDir === undefined ? [] : ['preview', '--outDir', outDir]
  return {
    name: 'app',
    command: node,
    args: [vite, ...from, '--host', '127.0.0.1', '--port', String(port), '--strictPort'],
    env: { ...toolEnv(), VITE_SYNC_URL: syncUrl, FORCE_COLOR: '0' },
    cwd: join(root, 'examples/todo'),
    url,
    readyUrl: url,
    isReady: (status) => status === 200,
  }
}

/**
 * Starts a service and waits until it answers.
 * @param {Service} service
 * @param {import('./child.mjs').Output} [output]
 * @param {(child: import('./child.mjs').Child) => void} [onStarted] gets the child before it is ready
 * @returns {Promise<import('./child.mjs').Child>}
 */
export async function launch(service, output, onStarted) {
  const child = startChild(service, output)
  onStarted?.(child)
  const deadline = Date.now() + READY_TIMEOUT_MS
  let answer = 'no answer'
  while (child.isAlive() && Date.now() < deadline) {
    const status = await statusOf(service.readyUrl)
    if (status !== undefined && service.isReady(status)) return child
    if (status !== undefined) answer = `status ${status}`
    if (status === 500) break // set up wrongly: it has said what is wrong
    await sleep(50)
  }
  const how = child.isAlive() ? `is not ready after ${READY_TIMEOUT_MS / 1000} s (${answer})` : (await child.exited).how
  await child.kill()
  throw new Error(`${service.name} ${how}. Its last lines:\n${child.tail()}`)
}

/**
 * @param {string} url
 * @returns {Promise<number | undefined>} undefined: nobody answers
 */
export async function statusOf(url) {
  try {
    // The Rust server waits for open connections when it stops: leave none
    const response = await fetch(url, { headers: { connection: 'close' }, signal: AbortSignal.timeout(2_000) })
    await response.body?.cancel()
    return response.status
  } catch {
    return undefined
  }
}
