/** The source of a pull: the log of a store, behind the Worker or on its own server. */
import type { Transport } from '../http/transport.ts'
import type { StoreSocket } from '../socket/store-socket.ts'

/** The address of a log and the way to it. */
export interface ReadSource {
  readonly url: string
  /** The address of the log's incarnation with this backend id; undefined where the server has none. */
  readonly urlOfIncarnation: ((backendId: string) => string) | undefined
  readonly transport: Transport
}

export interface Source extends ReadSource {
  /** The backend id that the server has now, past every cache; undefined without a stream. Rejects with an `HttpFailure`. */
  readonly askBackendId: (signal?: AbortSignal) => Promise<string | undefined>
  /** The store's socket; undefined where none can be used. */
  readonly socket: StoreSocket | undefined
  /** Set where the log's own server is read, which says and does less than the Worker. */
  readonly directLog: DirectLog | undefined
}

/** The backend id of a log and the offset of its end. Neither is known while there is no log. */
export interface LogIdentity {
  readonly backendId: string | undefined
  readonly tail: string | undefined
}

/** The end of a log as a pull has read it. */
export interface LogTail {
  readonly offset: string
  readonly head: number
}

/**
 * A log that is read without a Worker. The Worker tells the backend id with every answer and creates the stream for a live
 * read; here the provider asks and creates. The log's server tells no head and finds no position by seqNum.
 */
export interface DirectLog {
  /** The backend id of a stream without a header. */
  readonly implicitId: string
  /** A server answers an offset beyond the tail of a recreated stream without saying so. Therefore the provider asks. */
  readonly identify: (signal?: AbortSignal) => Promise<LogIdentity>
  /** Creates a store's stream, so that a live read delivers its first event. */
  readonly create: (signal?: AbortSignal) => Promise<void>
  /** The pull has read the log to its end. */
  readonly onTail: (tail: LogTail) => void
  /** The pull has lost its connection. */
  readonly onLost: () => void
  /** The pull has found a break of the chain. */
  readonly onBroken: () => void
}
