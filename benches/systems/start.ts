// Starts a system on a folder of its own. Every Worker runs in plain workerd, because the development servers put one proxy
// before the Worker and another one behind it.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { build } from 'esbuild'
import type { Child } from '../../scripts/lib/child.mjs'
import { freePort } from '../../scripts/lib/ports.mjs'
import { launch, rustUpstream, type Service } from '../../scripts/lib/services.mjs'
import { root, toolchain, toolEnv } from '../../scripts/lib/tools.mjs'
import { headwaterFiles, workerd } from '../../scripts/lib/workerd.mjs'
import type { Endpoint, Processes, SystemId } from './model.ts'

export interface Running {
  readonly endpoint: Endpoint
  readonly processes: Processes
  /** The V8 inspector of its Worker, if the options ask for it. */
  readonly inspectorUrl: string | undefined
  stop(): Promise<void>
}

export interface StartOptions {
  /** Overrides of the Worker's settings. */
  readonly vars?: Readonly<Record<string, string>>
  readonly inspector?: boolean
}

/** `S2_LITE`, or what `cargo install --locked s2-lite@0.43.4 --bin server --root .toolchain/s2-lite` installs. */
const s2Lite = process.env['S2_LITE'] ?? join(toolchain, 's2-lite/bin/server')

/** The reason why a system can't run on this machine; undefined if it can. */
export const missing = (system: SystemId): string | undefined =>
  system === 'sync-s2' && !existsSync(s2Lite)
    ? `s2-lite is not installed at ${s2Lite.replace(root, '')} (docs/performance.md says how)`
    : undefined

const running = new Set<Running>()

export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((system) => system.stop()))
}

export async function start(system: SystemId, folder: string, options: StartOptions = {}): Promise<Running> {
  const children: Child[] = []
  const launched = async <S extends Service>(service: S): Promise<S> => {
    children.push(await launch(service))
    return service
  }
  const runWorker = async (files: readonly string[], vars: Record<string, string> = {}) =>
    launched(await workerdService(files, folder, { ...options, vars: { ...options.vars, ...vars } }))
  const upstream = async (): Promise<Service> => {
    const dataDir = join(folder, 'upstream')
    await mkdir(dataDir, { recursive: true })
    return launched(rustUpstream({ port: await freePort(), dataDir }))
  }
  const stop = async () => {
    running.delete(self)
    // Acknowledged events are on disk, and an orderly stop would wait for readers that are gone
    await Promise.all(children.map((child) => child.kill()))
  }
  const self: { -readonly [K in keyof Running]: Running[K] } = {
    endpoint: { system, workerUrl: '', upstreamUrl: '' },
    processes: {},
    inspectorUrl: undefined,
    stop,
  }
  running.add(self)
  try {
    let worker: Awaited<ReturnType<typeof runWorker>> | undefined
    let upstreamUrl = ''
    if (system === 'sync-s2') {
      const s2 = await launched(await s2Service(join(folder, 's2')))
      worker = await runWorker(await bundled('sync-s2'), { S2_URL: `${s2.url}/v1` })
    } else if (system.startsWith('sync-cf')) {
      worker = await runWorker(await bundled('sync-cf'))
    } else if (system === 'headwater-built-in') {
      worker = await runWorker(headwaterFiles)
    } else {
      upstreamUrl = (await upstream()).url
      if (system !== 'floor' && system !== 'headwater-direct')
        worker = await runWorker(headwaterFiles, { UPSTREAM_URL: upstreamUrl })
    }
    self.endpoint = { system, workerUrl: worker?.url ?? '', upstreamUrl }
    self.inspectorUrl = worker?.inspectorUrl
    self.processes = Object.fromEntries(children.map((child) => [child.name, serverOf(child)]))
    return self
  } catch (error) {
    await stop()
    throw error
  }
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

const BUNDLES = join(root, 'benches/results/workers')

/** The files of another backend's Worker; the first is its configuration. */
async function bundled(name: 'sync-cf' | 'sync-s2'): Promise<string[]> {
  const outfile = join(BUNDLES, `${name}.js`)
  await build({
    entryPoints: [join(root, `benches/workers/${name}.js`)],
    outfile,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
    logLevel: 'error',
  })
  return [join(root, `benches/workers/${name}.capnp`), outfile]
}

/**
 * A Worker in plain workerd, with its objects on disk and an edge cache in memory. The first file is the configuration,
 * which embeds the others.
 */
async function workerdService(
  files: readonly string[],
  folder: string,
  options: StartOptions,
): Promise<Service & { inspectorUrl: string | undefined }> {
  const objects = join(folder, 'objects')
  await mkdir(objects, { recursive: true })
  const config = join(folder, basename(files[0] ?? ''))
  const port = await freePort()
  const inspectorPort = options.inspector ? await freePort() : undefined
  for (const file of files) await copyFile(file, join(folder, basename(file)))
  return {
    name: 'workerd',
    command: workerd,
    args: [
      'serve',
      config,
      `--socket-addr=http=127.0.0.1:${port}`,
      `--directory-path=objects=${objects}`,
      ...(inspectorPort === undefined ? [] : [`--inspector-addr=127.0.0.1:${inspectorPort}`]),
    ],
    env: { ...toolEnv(), ...options.vars },
    cwd: folder,
    url: `http://127.0.0.1:${port}`,
    readyUrl: `http://127.0.0.1:${port}/health`,
    isReady: () => true,
    inspectorUrl: inspectorPort === undefined ? undefined : `http://127.0.0.1:${inspectorPort}`,
  }
}

/** Finds the server in the process group of a child, which also has the shell that holds the leash (scripts/lib/child.mjs). */
function serverOf({ group }: Child): number | undefined {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,pgid=,comm='], { encoding: 'utf8' }).split('\n')
  const members = lines.map((line) => line.trim().split(/\s+/)).filter(([, pgid]) => Number(pgid) === group)
  const server = members.find(([, , command = '']) => !/^(sh|cat)$/.test(command))
  return server && Number(server[0])
}
