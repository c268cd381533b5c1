/** The terms of the three modes: where a store is read, how a chunk is written, and who tells the backend id. */
import type { Source } from '../reading/source.ts'
import type { BackendId } from '../store/backend-id.ts'
import type { Writer } from '../writing/writer.ts'

export interface Route {
  readonly source: Source
  readonly makeWriter: (backendId: BackendId) => Writer
  /** Rejects with an `HttpFailure` if the store does not answer. */
  readonly ping: (timeoutMs: number, signal?: AbortSignal) => Promise<void>
}

export interface StoreArgs {
  readonly storeId: string
  readonly payload: unknown
}
