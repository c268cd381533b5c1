// Starts a system on a folder of its own. Every Worker runs in the same way: workerd as Miniflare sets it up, its edge
// cache included, and a socket that leads straight to the Worker, without the proxy of a development server before it.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import type { Child } from '../../scripts/lib/child.mjs'
import { freePort } from '../../scripts/lib/ports.mjs'
import { launch, rustUpstream, type Service } from '../../scripts/lib/services.mjs'
import { root, toolchain, toolEnv } from '../../scripts/lib/tools.mjs'
import type { Endpoint, SystemId } from './model.ts'

export interface Running {
  readonly endpoint: Endpoint
  /** The process ids of its servers, by name. */
  readonly processes: { readonly workerd?: number; readonly upstream?: number }
  /** The inspector of its Worker, where asked for. */
  readonly inspectorUrl: string | undefined
  stop(): Promise<void>
}

export interface StartOptions {
  /** Overrides of the Worker's settings. */
  readonly vars?: Record<string, string>
  readonly inspector?: boolean
}

/** Built by `cargo install --locked s2-lite@0.43.4 --bin server --root .toolchain/s2-lite`, or by whoever sets `S2_LITE`. */
const s2Lite = process.env['S2_LITE'] ?? join(toolchain, 's2-lite/bin/server')

/** Why a system can't be measured here. */
export const missing = (system: SystemId): string | undefined =>
  system === 'sync-s2' && !existsSync(s2Lite) ? `no s2-lite at ${s2Lite.replace(root, '')} (docs/performance.md)` : undefined

const running = new Set<Running>()

export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((system) => system.stop()))
}

export async function start(system: SystemId, folder: string, options: StartOptions = {}): Promise<Running> {
  const children: Child[] = []
  const started = async (service: Service) => {
    const child = await launch(service)
    children.push(child)
    return { url: service.url, child }
  }
  let worker: Host | undefined
  let upstream: { url: string; child: Child } | undefined
  const stop = async () => {
    running.delete(self)
    await worker?.stop()
    // Its data goes next, or is only read: no reason to wait for an orderly end
    await Promise.all(children.map((child) => child.stop()))
  }
  const self: { -readonly [K in keyof Running]: Running[K] } = {
    endpoint: { system, workerUrl: '', upstreamUrl: '' },
    processes: {},
    inspectorUrl: undefined,
    stop,
  }
  running.add(self)
  try {
    if (system === 'sync-s2') {
      const s2 = await started(await s2Service(join(folder, 's2')))
      worker = await host(await bundled('sync-s2'), folder, { ...options, vars: { S2_URL: `${s2.url}/v1` } })
    } else if (system.startsWith('sync-cf')) {
      worker = await host(await bundled('sync-cf'), folder, options)
    } else {
      const dataDir = join(folder, 'upstream')
      await mkdir(dataDir, { recursive: true })
      upstream = await started(rustUpstream({ port: await freePort(), dataDir }))
      if (system !== 'floor' && system !== 'headwater-direct') {
        worker = await host(headwater, folder, { ...options, vars: { ...options.vars, UPSTREAM_URL: upstream.url } })
      }
    }
  } catch (error) {
    await stop()
    throw error
  }
  self.endpoint = { system, workerUrl: worker?.url ?? '', upstreamUrl: upstream?.url ?? '' }
  self.inspectorUrl = worker?.inspectorUrl
  const workerd = worker === undefined ? undefined : childOf(process.pid, 'workerd')
  const server = upstream?.child.group === undefined ? undefined : inGroup(upstream.child.group, 'durable-streams')
  self.processes = { ...(workerd === undefined ? {} : { workerd }), ...(server === undefined ? {} : { upstream: server }) }
  return self
}

async function s2Service(data: string): Promise<Service> {
  await mkdir(data, { recursive: true })
  const port = await freePort()
  return {
    name: 's2-lite',
    command: s2Lite,
    args: ['--port', String(port), '--local-root', data, '--no-dashboard'],
    env: { ...toolEnv(), RUST_LOG: 'warn' },
    cwd: data,
    url: `http://127.0.0.1:${port}`,
    readyUrl: `http://127.0.0.1:${port}/health`,
    isReady: (status) => status === 200,
  }
}

interface Module {
  readonly type: 'ESModule' | 'CompiledWasm'
  readonly path: string
  readonly contents?: string
}

interface WorkerCode {
  readonly modules: readonly Module[]
  readonly durableObjects: Record<string, { className: string; useSQLite: true }>
}

const headwater: WorkerCode = {
  modules: [
    { type: 'ESModule', path: 'index.js' },
    { type: 'CompiledWasm', path: 'index_bg.wasm' },
  ],
  durableObjects: { SEQUENCER: { className: 'Sequencer', useSQLite: true } },
}

const bundles = new Map<string, string>()

async function bundled(name: 'sync-cf' | 'sync-s2'): Promise<WorkerCode> {
  let contents = bundles.get(name)
  if (contents === undefined) {
    const { outputFiles } = await build({
      entryPoints: [join(root, `benches/workers/${name}.js`)],
      bundle: true,
      minify: true,
      write: false,
      format: 'esm',
      target: 'es2024',
      conditions: ['workerd', 'worker', 'browser'],
      external: ['cloudflare:*', 'node:*'],
      logLevel: 'error',
    })
    contents = outputFiles[0]?.text ?? ''
    bundles.set(name, contents)
  }
  return {
    modules: [{ type: 'ESModule', path: 'index.js', contents }],
    durableObjects: name === 'sync-cf' ? { SYNC_BACKEND_DO: { className: 'SyncBackendDO', useSQLite: true } } : {},
  }
}

interface Host {
  readonly url: string
  readonly inspectorUrl: string | undefined
  stop(): Promise<void>
}

async function host(code: WorkerCode, folder: string, { vars = {}, inspector = false }: StartOptions): Promise<Host> {
  const persistTo = join(folder, 'worker')
  // The edge cache of an earlier start is not part of a store
  await rm(join(persistTo, 'cache'), { recursive: true, force: true })
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      rootPath: join(root, 'build'),
      name: 'worker',
      modules: [...code.modules],
      compatibilityDate: '2026-10-01',
      // What sync-cf's documentation asks for; the other Workers do without, and are not hindered
      compatibilityFlags: ['nodejs_compat', 'enable_request_signal'],
      durableObjects: code.durableObjects,
      resourcePersistencePath: persistTo,
      bindings: vars,
      cf: false,
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      ...(inspector ? { inspectorPort: 0 } : {}),
      // Shown to nobody: what a Worker logs to a terminal would be part of what is measured
      handleStructuredLogs: () => {},
    }),
  )
  try {
    const url = await miniflare.unsafeGetDirectURL('worker')
    return {
      url: url.origin,
      inspectorUrl: inspector ? (await miniflare.getInspectorURL()).href : undefined,
      stop: () => miniflare.dispose(),
    }
  } catch (error) {
    await miniflare.dispose()
    throw error
  }
}

const processes = (): Array<{ pid: number; ppid: number; pgid: number; command: string }> =>
  execFileSync('ps', ['-A', '-o', 'pid=,ppid=,pgid=,comm='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .map(([pid, ppid, pgid, command = '']) => ({ pid: Number(pid), ppid: Number(ppid), pgid: Number(pgid), command }))

const childOf = (parent: number, name: string): number | undefined =>
  processes().findLast(({ ppid, command }) => ppid === parent && command.includes(name))?.pid

const inGroup = (group: number, name: string): number | undefined =>
  processes().find(({ pgid, command }) => pgid === group && command.includes(name))?.pid
