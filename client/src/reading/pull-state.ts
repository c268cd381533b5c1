/** The state of a pull, and the steps that every part of pull-core.ts takes. */
import type { HttpFailure } from '../http/errors.ts'
import type { Problem } from '../store/problem.ts'
import { afterConnection, type ConnectionLife, type LiveModeState, liveModeAt, type StreamMode } from './live-mode.ts'
import { type PullItem, START_OFFSET } from './page.ts'
import type { LogPage, Moment, PullEnd, PullSetup } from './pull-terms.ts'

export type Phase =
  /** `isSpread`: the pull waits only so that not all readers come back at once. */
  | { readonly _tag: 'Resting'; readonly ms: number; readonly isSpread: boolean }
  | { readonly _tag: 'Identifying'; readonly created: boolean }
  | { readonly _tag: 'Creating'; readonly identify: boolean }
  | { readonly _tag: 'Reading' }
  /** A long-poll has been open since then. */
  | { readonly _tag: 'Polling'; readonly since: number }
  | { readonly _tag: 'Opening'; readonly mode: StreamMode }
  /** `heard`: this connection has brought a page. */
  | Following
  /** A page waits until its backend is remembered. */
  | {
      readonly _tag: 'Learning'
      readonly backendId: string
      readonly read: { readonly page: LogPage; readonly from: PageOrigin } | undefined
    }
  | { readonly _tag: 'Doubting'; readonly doubt: Doubt }
  | { readonly _tag: 'Done' }
  | { readonly _tag: 'Ended'; readonly end: PullEnd }

interface Following {
  readonly _tag: 'Following'
  readonly mode: StreamMode
  readonly since: number
  readonly heard: boolean
}

/** The phase that read a page. The pull goes on there. */
export type PageOrigin = Extract<Phase, { readonly _tag: 'Reading' | 'Polling' | 'Following' }>

/** The reason to ask the server, past every cache, which backend the log has now (pull-doubts.ts). */
export type Doubt =
  /** A page belongs to another backend than the remembered one. */
  | { readonly _tag: 'Claim'; readonly backendId: string; readonly url: string }
  /** The device sees its first page. A cache may hold that page from before a reset. */
  | { readonly _tag: 'FirstPage'; readonly backendId: string; readonly page: LogPage; readonly from: PageOrigin }
  /** Offsets only grow (PROTOCOL 8). One that goes back may be another log's, whatever a cache on the way says. */
  | { readonly _tag: 'Backwards'; readonly page: LogPage; readonly from: PageOrigin }
  | { readonly _tag: 'Broken'; readonly end: Extract<PullEnd, { readonly _tag: 'Broken' }> }
  /** Reads from this position are torn again and again. */
  | { readonly _tag: 'Torn'; readonly failure: HttpFailure }
  /** The log ends before the last event of this device. */
  | { readonly _tag: 'Beyond'; readonly failure: HttpFailure }
  /** The server has no stream, though this device knows one. */
  | { readonly _tag: 'Missing'; readonly failure: HttpFailure }

export interface PullState {
  readonly phase: Phase
  /** The last good position: where the next read starts, and the last event that LiveStore received. */
  readonly offset: string
  readonly seqNum: number
  /** The log's end, while this pull is there. */
  readonly tail: { readonly offset: string; readonly head: number } | undefined
  /** Whether the next read finds its position by seqNum. */
  readonly bySeqNum: boolean
  /** The next live read sends this back. */
  readonly cursor: string | undefined
  /** Items that wait to be given to LiveStore. */
  readonly ready: ReadonlyArray<PullItem>
  /** LiveStore waits for an item that says `NoMore`. */
  readonly owesNoMore: boolean
  readonly started: boolean
  /** The seqNum that a requested catch-up must reach, and the number of catch-ups that did not reach it. */
  readonly target: number
  readonly overdue: number
  /** The current run of reads without a pause: its start, what it brought, and when a new one must begin. */
  readonly run: {
    readonly since: number
    readonly renewAt: number
    readonly answered: boolean
    readonly progressed: boolean
    readonly caughtUp: boolean
  }
  /** Runs in a row without a result. */
  readonly failures: number
  readonly liveMode: LiveModeState
  readonly canStream: boolean
  /** Whether a WebSocket can be used here. */
  readonly canSocket: boolean
  /** The socket that stays open while the pull catches up beside it. */
  readonly socket: Following | undefined
  /** The position comes from LiveStore's storage, and no page has ended at its event yet. */
  readonly isHint: boolean
  /** The last page broke the chain or was torn, and the pull reads it once more. */
  readonly suspect: boolean
  /** Every page since then broke the chain. */
  readonly brokenSince: number | undefined
  /** Whether the pull reads at the store's own URL, because the Worker does not know the incarnation's address. */
  readonly atStore: boolean
  /** Read past caches: they may hold what a reset has thrown away. */
  readonly fresh: boolean
  /** Whether events flow, as far as this pull knows; undefined while it does not. */
  readonly connected: boolean | undefined
  readonly problem: Problem | undefined
}

/** A run that lived so long shows that the server is there, even if it brought nothing. */
export const SHORTEST_LIFE_MS = 1_000

/**
 * Begins a run. A read from the log's start tells the backend id. From any other position, only the Worker tells it; a pull
 * of the log itself asks first.
 */
export const begin = (setup: PullSetup, state: PullState, moment: Moment): PullState => {
  const asksFirst = setup.party === 'log' && state.offset !== START_OFFSET
  const phase: Phase = asksFirst ? { _tag: 'Identifying', created: false } : { _tag: 'Reading' }
  return { ...state, phase, run: newRun(setup, moment) }
}

export const newRun = ({ settings }: PullSetup, { now, random }: Moment): PullState['run'] => ({
  since: now,
  renewAt: now + settings.renewIntervalMs * (0.75 + random / 4),
  answered: false,
  progressed: false,
  caughtUp: false,
})

export const goLive = (setup: PullSetup, state: PullState, moment: Moment): PullState => {
  if (state.run.renewAt <= moment.now) return begin(setup, state, moment)
  if (state.socket !== undefined) return { ...state, phase: state.socket, socket: undefined }
  const unable: Array<StreamMode> = [
    ...(state.canSocket ? [] : ['websocket' as const]),
    ...(state.canStream ? [] : ['sse' as const]),
  ]
  const mode = liveModeAt(state.liveMode, moment.now, unable)
  return { ...state, phase: mode === 'long-poll' ? { _tag: 'Polling', since: moment.now } : { _tag: 'Opening', mode } }
}

/** The next run catches up. A socket stays open meanwhile: what it brings links to the end of the catch-up. */
export const keepSocket = (state: PullState, from: PageOrigin): PullState =>
  from._tag === 'Following' && from.mode === 'websocket' ? { ...state, socket: from } : state

export const rest = (state: PullState, ms: number, isSpread = false): PullState => ({
  ...state,
  socket: undefined,
  phase: { _tag: 'Resting', ms, isSpread },
})

export const confirmFirst = (state: PullState, doubt: Doubt): PullState => ({
  ...state,
  phase: { _tag: 'Doubting', doubt },
})

/** Records how a live connection ended. */
export const noteConnection = (
  state: PullState,
  from: PageOrigin,
  end: ConnectionLife['end'],
  { now }: Moment,
): PullState => {
  if (from._tag !== 'Following') return state
  const life = { mode: from.mode, lastedMs: now - from.since, heard: from.heard, end }
  return { ...state, liveMode: afterConnection(state.liveMode, life, now) }
}

/** The next loss does not come from a connection that many readers share. */
export const withoutSpread = (state: PullState): PullState => ({ ...state, run: { ...state.run, caughtUp: false } })

/**
 * An offset is a hint. After a bad one the pull falls back to the position of the seqNum, and then to the log's start;
 * undefined if it already reads from there.
 */
export const fallBack = (setup: PullSetup, state: PullState): PullState | undefined => {
  if (!state.bySeqNum && state.offset === START_OFFSET) return undefined
  const bySeqNum = !state.bySeqNum && canFindBySeqNum(setup, state.seqNum)
  return { ...state, bySeqNum, offset: START_OFFSET, suspect: false, fresh: true }
}

export const canFindBySeqNum = ({ party }: PullSetup, seqNum: number): boolean => party === 'worker' && seqNum > 0

/** A push has seen that this pull misses events. */
export const isBehind = (state: PullState): boolean => state.seqNum < state.target

export const isAnotherBackend = (backendId: string | undefined, { remembered }: Moment): backendId is string =>
  backendId !== undefined && remembered !== undefined && backendId !== remembered
