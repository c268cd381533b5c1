/** The interface of pull-core.ts: it gives commands and takes outcomes. */
import type { HttpFailure } from '../http/errors.ts'
import type { LiveMode, StreamMode } from './live-mode.ts'
import type { PullItem } from './page.ts'

/** One answer to a read. */
export interface LogPage {
  readonly url: string
  readonly messages: ReadonlyArray<unknown>
  /** The offset behind them. */
  readonly next: string
  readonly upToDate: boolean
  /** Live reads send this back (PROTOCOL 10.1). */
  readonly cursor: string | undefined
  /** The backend id, as the Worker tells it. */
  readonly backendId: string | undefined
  /** The newest head that the Worker knows of. */
  readonly head: number | undefined
  /** Whether this runtime delivers a body piece by piece. */
  readonly canStream: boolean
  /** The stream is closed, and this is its end (PROTOCOL 4.1): nothing follows. */
  readonly closed?: boolean
}

export interface ReadQuery {
  readonly offset: string
  /** Reads from the append that holds the event after this one (docs/http-api.md). */
  readonly after: number | undefined
  readonly live: LiveMode | undefined
  readonly cursor: string | undefined
  /** The expected backend id. It keeps the pages of each backend apart in caches on the way. */
  readonly backendId: string | undefined
  /** The read goes to the store's own URL, and not to the incarnation's address. */
  readonly atStore?: boolean
  /** Makes the URL unique, so that no cache has it. */
  readonly nonce: string | undefined
  /** Bypasses every HTTP cache. */
  readonly fresh: boolean
}

export interface LiveQuery extends ReadQuery {
  readonly live: StreamMode
}

export type Command =
  | { readonly _tag: 'Give'; readonly item: PullItem }
  /** The pull has read the whole log. */
  | { readonly _tag: 'Done' }
  | { readonly _tag: 'Fail'; readonly end: PullEnd }
  /** Wait until the time is over or somebody wakes the pull. */
  | { readonly _tag: 'Rest'; readonly ms: number }
  /** Ask for the backend id. Only a log without a Worker needs it: the Worker tells the id with each answer. */
  | { readonly _tag: 'Identify' }
  /** Create the stream, so that a live read delivers its first event. */
  | { readonly _tag: 'Create' }
  /** Ask the server for its backend id now, past every cache. */
  | { readonly _tag: 'Confirm' }
  /** Remember the backend. */
  | { readonly _tag: 'Learn'; readonly backendId: string }
  /** Read a page. `withinMs` bounds a long-poll, and waking the pull ends it. */
  | { readonly _tag: 'Read'; readonly query: ReadQuery; readonly withinMs: number | undefined }
  /** Open a live connection. */
  | { readonly _tag: 'Listen'; readonly query: LiveQuery }
  /** Take the next page behind `seqNum` from the live connection. The time or waking the pull ends the wait. */
  | { readonly _tag: 'Next'; readonly seqNum: number; readonly withinMs: number }

export type PullEnd =
  | { readonly _tag: 'BackendIdMismatch'; readonly expected: string; readonly received: string }
  | { readonly _tag: 'Broken'; readonly note: string; readonly payload: Readonly<Record<string, unknown>> }
  | { readonly _tag: 'Failure'; readonly failure: HttpFailure; readonly note?: string }

export type Outcome =
  /** The command is done: the item was given, the pause is over, the stream exists, the id is remembered, the connection has begun. */
  | { readonly _tag: 'Ok' }
  /** Somebody woke the pull. */
  | { readonly _tag: 'Woken' }
  /** Nothing came in the time that the command gave. */
  | { readonly _tag: 'Elapsed' }
  | { readonly _tag: 'Page'; readonly page: LogPage }
  /** The server's own answer ended, but is not JSON: it begins inside a record, or was cut on the way. */
  | { readonly _tag: 'Torn'; readonly failure: HttpFailure; readonly backendId?: string | undefined }
  /** The server ended a live connection in good order, as it does every minute or so. */
  | { readonly _tag: 'Ended' }
  /** A live connection that had brought something is gone. */
  | { readonly _tag: 'Cut'; readonly failure: HttpFailure }
  /** Nothing came for too long. `heard`: something had come before. */
  | { readonly _tag: 'Stalled'; readonly failure: HttpFailure; readonly heard: boolean }
  /** The log has gone on to this head, and the connection does not bring what is missing. */
  | { readonly _tag: 'Behind'; readonly head: number }
  /** This runtime delivers a body only as a whole. */
  | { readonly _tag: 'NoStreams' }
  /** This runtime has no WebSocket, or one that can't carry the app's headers. */
  | { readonly _tag: 'NoSocket' }
  /** The answer to `Identify` and `Confirm`: the backend id and the end of the log; undefined without a log, or if nobody can tell. */
  | { readonly _tag: 'Identified'; readonly backendId: string | undefined; readonly tail: string | undefined }
  /** `backendId`: the id in the server's own refusal. */
  | { readonly _tag: 'Failed'; readonly failure: HttpFailure; readonly backendId?: string | undefined }

export interface PullSettings {
  readonly maxItemEvents: number
  readonly attempts: number
  readonly liveMode: LiveMode
  readonly renewIntervalMs: number
  readonly reconnectSpreadMs: number
  readonly initialDelayMs: number
  readonly maxDelayMs: number
}

/** The constant part of a pull. */
export interface PullSetup {
  readonly live: boolean
  /** The Worker tells the backend id and finds positions by seqNum. The log itself does neither. */
  readonly party: 'worker' | 'log'
  /** The id of a stream that has no header. */
  readonly implicitId: string | undefined
  readonly settings: PullSettings
}

/** The part that differs at each step. */
export interface Moment {
  readonly now: number
  /** A new random number from 0 to 1. */
  readonly random: number
  /** The backend that this client remembers. */
  readonly remembered: string | undefined
}
