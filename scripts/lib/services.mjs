// The servers that `npm start` and the tests run, and how they start.
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
 * @param {{ port: number, dataDir: string, longPollTimeoutMs?: number }} options
 * @returns {Service}
 */
export function rustUpstream({ port, dataDir, longPollTimeoutMs }) {
  const url = `http://127.0.0.1:${port}/v1/stream`
  const args = ['--host', '127.0.0.1', '--port', String(port), '--data-dir', dataDir, '--durability', 'wal']
  if (longPollTimeoutMs !== undefined) args.push('--long-poll-timeout-ms', String(longPollTimeoutMs))
  return {
    name: 'upstream',
    command: durableStreamsServer,
    args,
    env: toolEnv(),
    cwd: root,
    url,
    readyUrl: url,
    isReady: () => true, // the server has no health route, so any answer counts
  }
}

/**
 * The Worker on workerd. It must be built already, unless `rebuild` is set, which also rebuilds when a source changes.
 * @param {{ port: number, upstreamUrl: string, persistTo: string, vars?: Record<string, string>, envFile?: string, rebuild?: boolean, variant?: string }} options
 *   `envFile`: more variables, and secrets that the list of processes must not show; `variant`: the build that `scripts/build.sh <variant>` made
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
      CI: 'true', // no questions
      FORCE_COLOR: '0',
      WRANGLER_SEND_METRICS: 'false',
      CLOUDFLARE_CF_FETCH_ENABLED: 'false', // no look-up of the edge location, which needs a network
      WRANGLER_REGISTRY_PATH: join(persistTo, 'registry'), // separate from the Workers of other projects
      ...(rebuild ? {} : { HEADWATER_SKIP_BUILD: '1' }),
    },
    cwd: root,
    url,
    readyUrl: `${url}/health`,
    isReady: (status) => status === 200,
  }
}

/**
 * The to-do app. With `outDir`, it serves the files that `vite build` wrote there. Otherwise it serves the sources, and
 * follows their changes.
 * @param {{ port: number, syncUrl: string, outDir?: string }} options `syncUrl`: the URL of the Worker
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
 * @param {(child: import('./child.mjs').Child) => void} [onStarted] receives the child before it is ready
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
    if (status === 500) break // a setting is wrong: the last lines of output say which
    await sleep(50)
  }
  const how = child.isAlive() ? `is not ready after ${READY_TIMEOUT_MS / 1000} s (${answer})` : (await child.exited).how
  await child.kill()
  throw new Error(`${service.name} ${how}. Its last lines:\n${child.tail()}`)
}

/**
 * @param {string} url
 * @returns {Promise<number | undefined>} undefined if there is no answer
 */
export async function statusOf(url) {
  try {
    // When the Rust server stops, it waits for open connections. Leave none open
    const response = await fetch(url, { headers: { connection: 'close' }, signal: AbortSignal.timeout(2_000) })
    await response.body?.cancel()
    return response.status
  } catch {
    return undefined
  }
}
