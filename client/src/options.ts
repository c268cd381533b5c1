import { Duration } from 'effect'

/** Headers sent with every request; a function is called anew for each one, so it can hand out fresh tokens. */
export type HeadersInput =
  | Readonly<Record<string, string>>
  | (() => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>)

export interface SyncBackendOptions {
  /** Where the Worker answers, e.g. `https://sync.example.com` (in a browser it may be relative to the page). */
  readonly url: string
  /** @default 'default' */
  readonly tenant?: string
  readonly headers?: HeadersInput
  readonly push?: {
    /** @default 100 */
    readonly maxBatchEvents?: number
    /** Size of one request's body. @default 1 MiB */
    readonly maxBatchBytes?: number
    /** @default 30 seconds */
    readonly requestTimeout?: Duration.DurationInput
  }
  readonly pull?: {
    /** Pages are handed to LiveStore in items of at most so many events. @default 500 */
    readonly maxItemEvents?: number
    /** How long a pull that is not live tries before it fails with `IsOfflineError`. @default 3 */
    readonly attempts?: number
  }
  readonly live?: {
    /** @default 'sse', which falls back to long-poll where connections are cut at once */
    readonly mode?: LiveMode
    /** A read that brings no byte for so long is given up and made anew. @default 45 seconds */
    readonly stallTimeout?: Duration.DurationInput
    /** A live read is renewed by a catch-up at least so often (that is how a reset is noticed). @default 60 seconds */
    readonly renewInterval?: Duration.DurationInput
  }
  readonly retry?: {
    /** @default 100 millis */
    readonly initialDelay?: Duration.DurationInput
    /** @default 10 seconds */
    readonly maxDelay?: Duration.DurationInput
  }
  readonly ping?: {
    /** Ping from time to time while no live pull is open. @default true */
    readonly enabled?: boolean
    /** @default 10 seconds */
    readonly requestTimeout?: Duration.DurationInput
    /** @default 10 seconds */
    readonly requestInterval?: Duration.DurationInput
  }
  /** @default globalThis.fetch */
  readonly fetch?: typeof globalThis.fetch
}

export type LiveMode = 'sse' | 'long-poll'

/** The options with every default filled in; durations in milliseconds. */
export interface Settings {
  readonly maxBatchEvents: number
  readonly maxBatchBytes: number
  readonly pushTimeout: number
  readonly maxItemEvents: number
  readonly attempts: number
  readonly liveMode: LiveMode
  readonly stallTimeout: number
  readonly renewInterval: number
  readonly initialDelay: number
  readonly maxDelay: number
  readonly pingEnabled: boolean
  readonly pingTimeout: number
  readonly pingInterval: number
}

export const resolveSettings = (options: SyncBackendOptions): Settings => ({
  maxBatchEvents: options.push?.maxBatchEvents ?? 100,
  maxBatchBytes: options.push?.maxBatchBytes ?? 1024 * 1024,
  pushTimeout: Duration.toMillis(options.push?.requestTimeout ?? '30 seconds'),
  maxItemEvents: options.pull?.maxItemEvents ?? 500,
  attempts: options.pull?.attempts ?? 3,
  liveMode: options.live?.mode ?? 'sse',
  stallTimeout: Duration.toMillis(options.live?.stallTimeout ?? '45 seconds'),
  renewInterval: Duration.toMillis(options.live?.renewInterval ?? '60 seconds'),
  initialDelay: Duration.toMillis(options.retry?.initialDelay ?? '100 millis'),
  maxDelay: Duration.toMillis(options.retry?.maxDelay ?? '10 seconds'),
  pingEnabled: options.ping?.enabled ?? true,
  pingTimeout: Duration.toMillis(options.ping?.requestTimeout ?? '10 seconds'),
  pingInterval: Duration.toMillis(options.ping?.requestInterval ?? '10 seconds'),
})

/**
 * Where one store's requests go. In proxy mode all three are the Worker's; hybrid and direct mode will
 * differ in nothing but these.
 */
export interface Endpoints {
  readonly read: string
  readonly write: string
  readonly health: string
}

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const proxyEndpoints = (options: SyncBackendOptions, storeId: string): Endpoints => {
  const base = parseBaseUrl(options.url)
  const tenant = encodeName('tenant', options.tenant ?? 'default')
  const stream = `${base}/v1/stream/${tenant}/${encodeName('storeId', storeId)}`
  return { read: stream, write: stream, health: `${base}/health` }
}

const parseBaseUrl = (url: string): string => {
  const location = (globalThis as { location?: { href?: string } }).location
  let parsed: URL
  try {
    parsed = new URL(url, location?.href)
  } catch {
    throw new Error(`url ${JSON.stringify(url)} is not a URL`)
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new Error(`url ${JSON.stringify(url)} must be http or https`)
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`
}

/** `.` and `..` survive percent-encoding and would then be resolved away by every URL parser on the way. */
const encodeName = (what: string, name: string): string => {
  if (name === '' || name === '.' || name === '..') {
    throw new Error(`${what} ${JSON.stringify(name)} cannot be part of a URL; choose another name`)
  }
  try {
    return encodeURIComponent(name)
  } catch {
    throw new Error(`${what} ${JSON.stringify(name)} is not well-formed Unicode`)
  }
}
