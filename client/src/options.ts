import { Duration } from 'effect'

import type { HeadersInput } from './http/transport.ts'
import type { LiveMode } from './reading/live-mode.ts'
import type { Problem } from './store/problem.ts'

export type SyncBackendOptions = (ProxyOptions | HybridOptions | DirectOptions) & CommonOptions

/** Reads and writes go to the Worker. */
export interface ProxyOptions {
  readonly mode?: 'proxy'
  /** The Worker's URL, e.g. `https://sync.example.com`. In a browser it may be relative to the page. */
  readonly url: string
  /** Headers for the Worker. */
  readonly headers?: HeadersInput
  readonly upstream?: never
}

/** Writes go to the Worker, reads straight to its upstream. */
export interface HybridOptions {
  readonly mode: 'hybrid'
  /** The Worker's URL. */
  readonly url: string
  /** Headers for the Worker. */
  readonly headers?: HeadersInput
  readonly upstream: UpstreamOptions
}

/** No Worker: reads and writes go to the upstream. */
export interface DirectOptions {
  readonly mode: 'direct'
  readonly url?: never
  readonly headers?: never
  readonly upstream: UpstreamOptions
}

/** A Durable Streams server. It receives nothing that is meant for the Worker, `syncPayload.authToken` included. */
export interface UpstreamOptions {
  /** The Worker's `UPSTREAM_URL`. The streams of the stores are below it. */
  readonly url: string
  /** Headers for the upstream. */
  readonly headers?: HeadersInput
}

export interface CommonOptions {
  /** @default 'default' */
  readonly tenant?: string
  readonly push?: {
    /** @default 100 */
    readonly maxBatchEvents?: number
    /** The size of one request's body. @default 1 MiB */
    readonly maxBatchBytes?: number
    /** @default 30 seconds */
    readonly requestTimeout?: Duration.DurationInput
  }
  readonly pull?: {
    /** LiveStore receives each page in items of at most this many events. @default 500 */
    readonly maxItemEvents?: number
    /** A pull that is not live fails with `IsOfflineError` after this many failures in a row. @default 3 */
    readonly attempts?: number
  }
  readonly live?: {
    /**
     * The best way of receiving events that the provider tries. Where connections are cut at once or held back, it falls
     * back from `websocket` to `sse`, and from there to `long-poll`, for some minutes. Only a Worker has WebSockets. An open
     * one carries the pushes, too. @default 'websocket' in proxy mode, 'sse' in the others
     */
    readonly mode?: LiveMode
    /**
     * How long the first byte of a live connection may take. If it takes longer on a socket, or twice in a row on SSE, the
     * provider falls back. @default 5 seconds
     */
    readonly firstByteTimeout?: Duration.DurationInput
    /** The provider restarts a read that receives no byte for this long. @default 45 seconds */
    readonly stallTimeout?: Duration.DurationInput
    /** The provider renews a live read by a catch-up at least this often, and so notices a reset. @default 60 seconds */
    readonly renewInterval?: Duration.DurationInput
    /**
     * Readers whose live connections are cut at the same moment reconnect spread over this time, or over more if the server
     * asks for it. A push that finds the server ahead makes its device reconnect at once. @default 2 seconds
     */
    readonly reconnectSpread?: Duration.DurationInput
  }
  readonly retry?: {
    /** @default 100 millis */
    readonly initialDelay?: Duration.DurationInput
    /** @default 10 seconds */
    readonly maxDelay?: Duration.DurationInput
  }
  readonly ping?: {
    /** Whether the provider pings while no live pull is open. @default true */
    readonly enabled?: boolean
    /** @default 10 seconds */
    readonly requestTimeout?: Duration.DurationInput
    /** @default 10 seconds */
    readonly requestInterval?: Duration.DurationInput
  }
  /**
   * Receives the problem that keeps the store from syncing, whenever it changes, and `undefined` once there is none.
   * LiveStore has no place for it. The provider logs what the function throws, and goes on.
   */
  readonly onProblem?: (problem: Problem | undefined) => void
  /**
   * Makes the requests. It must honor `redirect: 'manual'`. With responses without a `body` (React Native), live pulls use
   * long-poll. @default globalThis.fetch
   */
  readonly fetch?: typeof globalThis.fetch
  /**
   * Opens the sockets. With a `fetch` of your own, the provider uses sockets only if you give this as well.
   * @default globalThis.WebSocket
   */
  readonly WebSocket?: typeof globalThis.WebSocket
}

/** The options with every default filled in; durations in milliseconds. */
export interface Settings {
  readonly maxBatchEvents: number
  readonly maxBatchBytes: number
  readonly pushTimeoutMs: number
  readonly maxItemEvents: number
  readonly attempts: number
  readonly liveMode: LiveMode
  readonly firstByteTimeoutMs: number
  readonly stallTimeoutMs: number
  readonly renewIntervalMs: number
  readonly reconnectSpreadMs: number
  readonly initialDelayMs: number
  readonly maxDelayMs: number
  readonly pingEnabled: boolean
  readonly pingTimeoutMs: number
  readonly pingIntervalMs: number
}

export const resolveSettings = (options: SyncBackendOptions): Settings => ({
  maxBatchEvents: options.push?.maxBatchEvents ?? 100,
  maxBatchBytes: options.push?.maxBatchBytes ?? 1024 * 1024,
  pushTimeoutMs: Duration.toMillis(options.push?.requestTimeout ?? '30 seconds'),
  maxItemEvents: options.pull?.maxItemEvents ?? 500,
  attempts: options.pull?.attempts ?? 3,
  liveMode: options.live?.mode ?? (options.mode === 'hybrid' || options.mode === 'direct' ? 'sse' : 'websocket'),
  firstByteTimeoutMs: Duration.toMillis(options.live?.firstByteTimeout ?? '5 seconds'),
  stallTimeoutMs: Duration.toMillis(options.live?.stallTimeout ?? '45 seconds'),
  renewIntervalMs: Duration.toMillis(options.live?.renewInterval ?? '60 seconds'),
  reconnectSpreadMs: Duration.toMillis(options.live?.reconnectSpread ?? '2 seconds'),
  initialDelayMs: Duration.toMillis(options.retry?.initialDelay ?? '100 millis'),
  maxDelayMs: Duration.toMillis(options.retry?.maxDelay ?? '10 seconds'),
  pingEnabled: options.ping?.enabled ?? true,
  pingTimeoutMs: Duration.toMillis(options.ping?.requestTimeout ?? '10 seconds'),
  pingIntervalMs: Duration.toMillis(options.ping?.requestInterval ?? '10 seconds'),
})
