/** The terms of pull-core.ts: commands out, outcomes in. */
import type { HttpFailure } from '../http/errors.ts'
import type { LiveMode } from './live-mode.ts'
import type { PullItem } from './page.ts'

/** One answer to a read. */
export interface LogPage {
  readonly url: string
  readonly messages: ReadonlyArray<unknown>
  /** The offset behind them. */
  readonly next: string
  readonly upToDate: boolean
  /** PROTOCOL 10.1: to be sent back with live reads. */
  readonly cursor: string | undefined
  /** Whose log it is, as the Worker says. */
  readonly backendId: string | undefined
  /** The newest head that the Worker knows of. */
  readonly head: number | undefined
  /** Whether this runtime hands over a body bit by bit. */
  readonly canStream: boolean
}

/** What is read. */
export interface ReadQuery {
  readonly offset: string
  /** From the append that holds the next event (docs/http-api.md). */
  readonly after: number | undefined
  readonly live: LiveMode | undefined
  readonly cursor: string | undefined
  /** Whose log it should be: it keeps what caches on the way hold of each apart. */
  readonly backendId: string | undefined
  /** Makes the address one that no cache has. */
  readonly nonce: string | undefined
  /** Past every HTTP cache. */
  readonly fresh: boolean
}

export type Command =
  | { readonly _tag: 'Give'; readonly item: PullItem }
  /** All is read. */
  | { readonly _tag: 'Done' }
  | { readonly _tag: 'Fail'; readonly end: PullEnd }
  /** Wait, unless woken. */
  | { readonly _tag: 'Rest'; readonly ms: number }
  /** Ask whose log this is; only of a log that does not say it with each answer. */
  | { readonly _tag: 'Identify' }
  /** Make the stream, so that a live read hears its first event. */
  | { readonly _tag: 'Create' }
  /** Ask the server, past every cache, whose log it is now. */
  | { readonly _tag: 'Confirm' }
  /** Remember the backend. */
  | { readonly _tag: 'Learn'; readonly backendId: string }
  /** Read a page; a long-poll for so long at most, unless woken. */
  | { readonly _tag: 'Read'; readonly query: ReadQuery; readonly withinMs: number | undefined }
  /** Open a live connection. */
  | { readonly _tag: 'Listen'; readonly query: ReadQuery }
  /** Take the next page from it; for so long at most, unless woken. */
  | { readonly _tag: 'Next'; readonly withinMs: number }

export type PullEnd =
  | { readonly _tag: 'BackendIdMismatch'; readonly expected: string; readonly received: string }
  | { readonly _tag: 'Broken'; readonly note: string; readonly payload: Readonly<Record<string, unknown>> }
  | { readonly _tag: 'Failure'; readonly failure: HttpFailure; readonly note?: string }

export type Outcome =
  /** What was to be done is done: an item given, a pause over, a stream made, an id remembered, a connection begun. */
  | { readonly _tag: 'Ok' }
  /** Something is wanted of this pull before its time. */
  | { readonly _tag: 'Woken' }
  /** Nothing came in the time that the command gave. */
  | { readonly _tag: 'Elapsed' }
  | { readonly _tag: 'Page'; readonly page: LogPage }
  /** The server's own answer, come to its end, but no JSON: it begins within a record, or was cut on the way. */
  | { readonly _tag: 'Torn'; readonly failure: HttpFailure; readonly backendId?: string | undefined }
  /** The server ended a live connection in good order, as it does every minute or so. */
  | { readonly _tag: 'Ended' }
  /** Nothing came for too long; `heard`: but something had come before. */
  | { readonly _tag: 'Stalled'; readonly failure: HttpFailure; readonly heard: boolean }
  /** This runtime hands over a body only at its end. */
  | { readonly _tag: 'NoStreams' }
  /** To `Identify` and `Confirm`: whose log it is, and where it ends; undefined if there is none, or nobody can tell. */
  | { readonly _tag: 'Identified'; readonly backendId: string | undefined; readonly tail: string | undefined }
  /** `backendId`: whose log it is, as a refusal of the server itself says. */
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

/** What does not change while a pull runs. */
export interface PullSetup {
  readonly live: boolean
  /** The Worker says whose log it is and finds positions by seqNum; the log itself does neither. */
  readonly party: 'worker' | 'log'
  /** The id of a stream that has no header. */
  readonly implicitId: string | undefined
  readonly settings: PullSettings
}

/** What is different at each step. */
export interface Moment {
  readonly now: number
  /** From 0 to 1, a new one each time. */
  readonly random: number
  /** The backend that this client remembers. */
  readonly remembered: string | undefined
}
