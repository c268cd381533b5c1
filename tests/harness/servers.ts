// The real parts as processes. A test can stop, kill and restart each on the same data and port.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { V4MiniflareOptions } from 'miniflare'
import type { Child } from '../../scripts/lib/child.mjs'
import { freePort } from '../../scripts/lib/ports.mjs'
import { launch, rustUpstream, type Service, worker as wranglerDev } from '../../scripts/lib/services.mjs'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'
import { makeFolder, removeFolder } from './folder.ts'

export interface Server {
  /** The Worker's origin, or the upstream's base for `UPSTREAM_URL`. */
  readonly url: string
  readonly port: number
  /** The last lines of its output. */
  logs(): string
  /** The JSON objects that it logged in this run, one a line. */
  jsonLines(): Record<string, unknown>[]
  /** Stops the server, and removes the folder that it made for its data. */
  stop(): Promise<void>
  /** Kills its whole process group with SIGKILL, as a crash would. The data stays. */
  kill(): Promise<void>
  /** Starts the server on the same data and port. Stops it first if it runs. */
  restart(): Promise<void>
  /** The physical memory in bytes of its server process: workerd, not the Node that starts it. */
  memory(): Promise<number>
}

/** Kills the server, does the work, and starts it again. */
export const whileDown = async <T>(server: Server, work: () => Promise<T>): Promise<T> => {
  await server.kill()
  const result = await work()
  await server.restart()
  return result
}

interface UpstreamOptions {
  port?: number
  /** `stop` keeps it. The default is a temporary folder, which `stop` removes. */
  dataDir?: string
  /** How long a long-poll waits for news. The default is the server's own: 30 s. */
  longPollTimeoutMs?: number
}

export async function startRustUpstream(options: UpstreamOptions = {}): Promise<Server> {
  const port = options.port ?? (await freePort())
  const data = await dataFolder(options.dataDir)
  return startServer(rustUpstream({ ...options, port, dataDir: data.path }), port, data)
}

/** In the place of an upstream: the log is built in, and no server is there. */
export const noUpstream: Server = {
  url: '',
  port: 0,
  logs: () => '',
  jsonLines: () => [],
  stop: async () => {},
  kill: async () => {},
  restart: async () => {},
  memory: async () => 0,
}

/** The reference server of the protocol. It stores to files, so that a test can restart it. */
export async function startNodeUpstream(options: UpstreamOptions = {}): Promise<Server> {
  const port = options.port ?? (await freePort())
  const data = await dataFolder(options.dataDir)
  const url = `http://127.0.0.1:${port}/v1/stream`
  const service: Service = {
    name: 'Node upstream',
    command: node,
    args: [
      join(root, 'tests/harness/node-upstream.mjs'),
      JSON.stringify({ port, dataDir: data.path, longPollTimeout: options.longPollTimeoutMs }),
    ],
    env: toolEnv(),
    cwd: root,
    url,
    readyUrl: url,
    isReady: () => true,
  }
  return startServer(service, port, data)
}

interface WorkerOptions {
  upstreamUrl: string
  /** Overrides of wrangler.toml's `[vars]`. */
  vars?: Record<string, string>
  /** The storage of the Durable Objects. `stop` keeps it. The default is a temporary folder, which `stop` removes. */
  persistTo?: string
  port?: number
  /** The build with this Cargo feature. `build` must have made it. */
  variant?: string
  /** False: without an edge cache, as on workers.dev. */
  cache?: boolean
  /** The rate limiter that wrangler.toml has as a comment, with its period in seconds. The default is no limiter. */
  rateLimit?: { limit: number; period: 10 | 60 }
  /** Binds an R2 bucket for the older parts of built-in logs. Its objects are in `persistTo`. */
  bucket?: boolean
  /** Binds the dataset of Workers Analytics Engine that wrangler.toml has as a comment. The local one takes points and drops them. */
  analytics?: boolean
}

/** Has the bindings of wrangler.toml, but does without wrangler, which starts slowly and puts a proxy before the Worker. */
export async function startWorker(options: WorkerOptions): Promise<Server> {
  const { upstreamUrl, vars = {}, variant, cache = true, rateLimit, bucket = false, analytics = false } = options
  const port = options.port ?? (await freePort())
  const data = await dataFolder(options.persistTo)
  const url = `http://127.0.0.1:${port}`
  const { unstable_getMiniflareWorkerOptions } = await import('wrangler') // large, therefore only for files that need it
  const { workerOptions } = unstable_getMiniflareWorkerOptions(join(root, 'wrangler.toml'))
  const miniflare: V4MiniflareOptions = {
    ...workerOptions,
    bindings: { ...(workerOptions.bindings as object), UPSTREAM_URL: upstreamUrl, ...vars },
    rootPath: join(root, variant === undefined ? 'build' : `build-${variant}`),
    modules: [
      { type: 'ESModule', path: 'index.js' },
      { type: 'CompiledWasm', path: 'index_bg.wasm' },
    ],
    host: '127.0.0.1',
    port,
    cf: false, // no look-up of the edge location, to work offline
    resourcePersistencePath: data.path,
    cacheAPI: cache,
    ...(rateLimit === undefined ? {} : { ratelimits: { RATE_LIMITER: { namespace_id: '1', simple: rateLimit } } }),
    ...(bucket ? { r2Buckets: { LOG_BUCKET: 'headwater-logs' } } : {}),
    ...(analytics ? { analyticsEngineDatasets: { ANALYTICS: { dataset: 'headwater' } } } : {}),
  }
  const service: Service = {
    name: 'worker',
    command: node,
    args: [join(root, 'tests/harness/worker.mjs'), JSON.stringify(miniflare)],
    env: toolEnv(),
    cwd: root,
    url,
    readyUrl: `${url}/health`,
    isReady: () => true, // a Worker with a wrong setting counts, too: it answers with the problem
  }
  return startServer(service, port, data)
}

/** Runs the Worker as `npm start` does. */
export async function startWranglerDev({ upstreamUrl }: { upstreamUrl: string }): Promise<Server> {
  const port = await freePort()
  const data = await dataFolder()
  return startServer(wranglerDev({ port, upstreamUrl, persistTo: data.path }), port, data)
}

interface DataFolder {
  path: string
  temporary: boolean
  remove(): Promise<void>
}

async function dataFolder(given?: string): Promise<DataFolder> {
  if (given !== undefined) return { path: given, temporary: false, remove: async () => {} }
  const path = await makeFolder('server')
  return { path, temporary: true, remove: () => removeFolder(path) }
}

async function startServer(service: Service, port: number, data: DataFolder): Promise<Server> {
  let child: Child
  let printed: string[] = []
  const start = () => launch(service, { onLine: (line: string) => void (line.startsWith('{') && printed.push(line)) })
  try {
    child = await start()
  } catch (error) {
    await data.remove()
    throw error
  }
  return {
    url: service.url,
    port,
    logs: () => child.tail(),
    jsonLines: () => printed.map((line) => JSON.parse(line) as Record<string, unknown>),
    async stop() {
      // An orderly stop would wait for open connections, to save data that goes away next
      await (data.temporary ? child.kill() : child.stop())
      await data.remove()
    },
    kill: () => child.kill(),
    async restart() {
      await child.stop()
      printed = []
      child = await start()
    },
    memory: () => memoryOf(child, service.name === 'worker' ? 'workerd' : ''),
  }
}

async function memoryOf(child: Child, command: string): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pgid=,rss=,comm='])
  const kibibytes = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([group, , name = '']) => Number(group) === child.group && name.includes(command))
    .map(([, rss]) => Number(rss))
  return Math.max(...kibibytes) * 1024
}
