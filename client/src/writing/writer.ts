/** What a push is sent with: the Worker (worker-push.ts) or the log itself (direct-push.ts). */
import type { LiveStoreEvent } from '@livestore/common/schema'

/** What one request may carry: linked events, and their JSON. */
export interface Chunk {
  readonly body: string
  readonly events: ReadonlyArray<LiveStoreEvent.Global.Encoded>
}

/** Rejects with an `HttpFailure`, or with the error for LiveStore. */
export type SendChunk = (chunk: Chunk, signal: AbortSignal) => Promise<void>

export interface Writer {
  readonly send: SendChunk
  /** Tests without writing whether the server answers pushes. Rejects with an `HttpFailure` if it does not. */
  readonly probe: (signal: AbortSignal) => Promise<void>
}
