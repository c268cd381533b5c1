/**
 * The decisions of a pull: a state machine without IO, clock or randomness, of the same kind as direct-core.ts.
 *
 * The contract with its driver (pull.ts): carry out what `commandOf` says, give the outcome to `after`, and go on.
 * The driver runs only while LiveStore asks for the next item. Therefore LiveStore has processed every item before
 * anything here changes, and two of LiveStore's rules hold (LeaderSyncProcessor.ts,
 * `backgroundBackendPulling`): items wait while `isConnected` is false, and local pushes wait from an item that says
 * more until one that says `NoMore`. Neither can be left waiting by a connection that is lost meanwhile.
 *
 * Invariants:
 * - An event is given only if it links to the one given before.
 * - A live pull ends only for another backend or a break of the chain, each confirmed by a second answer of the server
 *   itself, and for a log whose offsets are hidden. Whatever else happens, it tries again.
 * - The machine believes only what judge.ts has found to be the server's own answer.
 */
import type { LiveStoreEvent } from '@livestore/common/schema'

import { backoffDelay } from './backoff.ts'
import type { Start } from './cursor.ts'
import { ForeignAnswer, type HttpFailure, isDenied, isTransient, ResponseError, retryAfterMs, TransportError } from './errors.ts'
import { decodeEvent } from './event.ts'
import { afterSse, liveModeAt, type LiveModeState, type SseLife, startLiveMode } from './live-mode.ts'
import type { LiveMode } from './options.ts'
import { cutPage, EMPTY_ITEM, type Page, type PullItem, readPage, START_OFFSET } from './page.ts'
import { isHaltedProblem, type Problem, problemOf } from './problem.ts'
import type { Command, LogPage, Moment, Outcome, PullEnd, PullSetup, ReadQuery } from './pull-terms.ts'

type Phase =
  /** `isSpread`: only so that not all readers come back at once. */
  | { readonly _tag: 'Resting'; readonly ms: number; readonly isSpread: boolean }
  | { readonly _tag: 'Identifying'; readonly created: boolean }
  | { readonly _tag: 'Creating'; readonly identify: boolean }
  | { readonly _tag: 'Reading' }
  /** A long-poll since then. */
  | { readonly _tag: 'Polling'; readonly since: number }
  | { readonly _tag: 'Opening' }
  /** `heard`: a page came by this connection. */
  | { readonly _tag: 'Following'; readonly since: number; readonly heard: boolean }
  /** What was read waits until its backend is remembered. */
  | { readonly _tag: 'Learning'; readonly backendId: string; readonly read: { readonly page: LogPage; readonly from: Following } | undefined }
  | { readonly _tag: 'Doubting'; readonly doubt: Doubt }
  | { readonly _tag: 'Done' }
  | { readonly _tag: 'Ended'; readonly end: PullEnd }

/** Where a page came from, to go on there. */
type Following = Extract<Phase, { readonly _tag: 'Reading' | 'Polling' | 'Following' }>

/** Why the server is asked whose log it is now. */
type Doubt =
  /** A page is of a backend that is not the remembered one. */
  | { readonly _tag: 'Claim'; readonly backendId: string; readonly url: string }
  /** A page is the first that this device sees, and a cache may have it from before a reset. */
  | { readonly _tag: 'FirstPage'; readonly backendId: string; readonly page: LogPage; readonly from: Following }
  /** Offsets only grow (PROTOCOL 8): one that goes back may be another log's, whatever a memory on the way says. */
  | { readonly _tag: 'Backwards'; readonly page: LogPage; readonly from: Following }
  | { readonly _tag: 'Broken'; readonly end: Extract<PullEnd, { readonly _tag: 'Broken' }> }
  /** What is read from here is torn again and again. */
  | { readonly _tag: 'Torn'; readonly failure: HttpFailure }
  /** The log ends before what this device has. */
  | { readonly _tag: 'Beyond'; readonly failure: HttpFailure }
  /** There is no stream, though this device knows one. */
  | { readonly _tag: 'Missing'; readonly failure: HttpFailure }

export interface PullState {
  readonly phase: Phase
  /** The last good position: where the next read starts, and the last event that was given. */
  readonly offset: string
  readonly seqNum: number
  /** The log's end, while this pull is there. */
  readonly tail: { readonly offset: string; readonly head: number } | undefined
  /** Whether the next read finds its place by seqNum. */
  readonly bySeqNum: boolean
  /** To be sent back with the next live read. */
  readonly cursor: string | undefined
  /** Items that were not given yet. */
  readonly ready: ReadonlyArray<PullItem>
  /** LiveStore waits for an item that says `NoMore`. */
  readonly owesNoMore: boolean
  readonly started: boolean
  /** The seqNum up to which a catch-up is owed, and how many have not brought it. */
  readonly target: number
  readonly overdue: number
  /** The run of reads that goes on without a pause: since when, what it brought, and when it is to begin anew. */
  readonly run: { readonly since: number; readonly renewAt: number; readonly answered: boolean; readonly progressed: boolean; readonly caughtUp: boolean }
  /** Runs in a row that came to nothing. */
  readonly failures: number
  readonly liveMode: LiveModeState
  readonly canStream: boolean
  /** The position is what LiveStore had kept of it, and no page has ended at its event yet. */
  readonly isHint: boolean
  /** The last page broke the chain or was torn, and is being read once more. */
  readonly suspect: boolean
  /** Since when every page broke the chain. */
  readonly brokenSince: number | undefined
  /** Read past caches: they may hold what a reset has thrown away. */
  readonly fresh: boolean
  /** Whether events flow, as far as this pull knows; undefined while it does not. */
  readonly connected: boolean | undefined
  readonly problem: Problem | undefined
}

/** A run that lived so long shows that the server is there, whatever becomes of it. */
const SHORTEST_LIFE_MS = 1_000

/**
 * Answers that were mixed up on the way break the chain as well. So long a break must last; a Worker that has seen it ends
 * the doubt at once.
 */
const BREAK_LASTS_MS = { worker: 30_000, log: 1_000 }

/** A refusal is asked about more seldom than a lost connection. */
const REFUSED_DELAY_FACTOR = 3

export const startPull = (setup: PullSetup, start: Start, failures: number, moment: Moment): PullState => {
  const state: PullState = {
    phase: { _tag: 'Resting', ms: 0, isSpread: false },
    offset: start.offset ?? START_OFFSET,
    seqNum: start.seqNum,
    tail: undefined,
    bySeqNum: start.offset === undefined && canFindBySeqNum(setup, start.seqNum),
    cursor: undefined,
    ready: [],
    owesNoMore: false,
    started: false,
    target: 0,
    overdue: 0,
    run: newRun(setup, moment),
    failures,
    liveMode: startLiveMode(setup.settings.liveMode),
    canStream: true,
    isHint: true,
    suspect: false,
    brokenSince: undefined,
    fresh: false,
    connected: undefined,
    problem: undefined,
  }
  return failures > 0 ? rest(state, backoffDelay(failures, setup.settings, moment.random)) : begin(setup, state, moment)
}

/** A push has learned that the log has events up to this one: they are caught up with at once, and again until they came. */
export const wanted = (state: PullState, seqNum: number): PullState => ({ ...state, target: Math.max(state.target, seqNum) })

/** It waits only so that not all readers come back at once. */
export const isSpreading = ({ phase }: PullState): boolean => phase._tag === 'Resting' && phase.isSpread

/** A live connection is in use. */
export const isFollowing = ({ phase }: PullState): boolean => {
  if (phase._tag === 'Learning') return phase.read?.from._tag === 'Following'
  if (phase._tag === 'Doubting') return 'from' in phase.doubt && phase.doubt.from._tag === 'Following'
  return phase._tag === 'Following'
}

export const isBehind = (state: PullState): boolean => state.seqNum < state.target

export const commandOf = (setup: PullSetup, state: PullState, moment: Moment): Command => {
  const [item] = state.ready
  if (item !== undefined) return { _tag: 'Give', item }
  const { phase } = state
  switch (phase._tag) {
    case 'Resting':
      return { _tag: 'Rest', ms: phase.ms }
    case 'Identifying':
      return { _tag: 'Identify' }
    case 'Creating':
      return { _tag: 'Create' }
    case 'Reading':
      return { _tag: 'Read', query: queryOf(state, undefined, moment), withinMs: undefined }
    case 'Polling':
      return { _tag: 'Read', query: queryOf(state, 'long-poll', moment), withinMs: patience(setup, state, moment) }
    case 'Opening':
      return { _tag: 'Listen', query: queryOf(state, 'sse', moment) }
    case 'Following':
      return { _tag: 'Next', withinMs: patience(setup, state, moment) }
    case 'Learning':
      return { _tag: 'Learn', backendId: phase.backendId }
    case 'Doubting':
      return { _tag: 'Confirm' }
    case 'Done':
      return { _tag: 'Done' }
    case 'Ended':
      return { _tag: 'Fail', end: phase.end }
  }
}

const queryOf = (state: PullState, live: LiveMode | undefined, { random, remembered }: Moment): ReadQuery => {
  // A client that remembers no backend can't tell a cached page of an old one.
  const fresh = live === undefined && (state.fresh || remembered === undefined)
  return {
    offset: state.offset,
    after: state.bySeqNum ? state.seqNum : undefined,
    live,
    cursor: state.cursor,
    backendId: remembered,
    nonce: fresh ? random.toString(36).slice(2, 12) : undefined,
    fresh,
  }
}

/**
 * A run that has caught up is left for a newer one in good time, and soon when a push has said that it misses something:
 * then it is followed, too, but not believed.
 */
const patience = ({ settings }: PullSetup, state: PullState, { now, random }: Moment): number => {
  const inGoodTime = Math.max(0, state.run.renewAt - now)
  return isBehind(state) ? Math.min(inGoodTime, backoffDelay(state.overdue + 1, settings, random)) : inGoodTime
}

export const after = (setup: PullSetup, state: PullState, outcome: Outcome, moment: Moment): PullState => {
  if (state.ready.length > 0) return given(state)
  const { phase } = state
  switch (phase._tag) {
    case 'Resting':
      return begin(setup, state, moment)
    case 'Identifying':
      return identified(setup, state, phase.created, outcome, moment)
    case 'Creating':
      return created(setup, state, phase.identify, outcome, moment)
    case 'Reading':
    case 'Polling':
    case 'Following':
      return answered(setup, state, phase, outcome, moment)
    case 'Opening':
      return { ...state, phase: { _tag: 'Following', since: moment.now, heard: false } }
    case 'Learning':
      return learned(setup, state, phase, outcome, moment)
    case 'Doubting':
      return confirmed(setup, state, phase.doubt, outcome, moment)
    case 'Done':
    case 'Ended':
      return state
  }
}

const given = (state: PullState): PullState => {
  const [item, ...ready] = state.ready
  return { ...state, ready, started: true, owesNoMore: item?.pageInfo._tag !== 'NoMore' }
}

/** Begins a run: from the log's start on it says itself whose it is; from anywhere else a log without a Worker does not. */
const begin = (setup: PullSetup, state: PullState, moment: Moment): PullState => {
  const asksFirst = setup.party === 'log' && state.offset !== START_OFFSET
  const phase: Phase = asksFirst ? { _tag: 'Identifying', created: false } : { _tag: 'Reading' }
  return { ...state, phase, run: newRun(setup, moment) }
}

const newRun = ({ settings }: PullSetup, { now, random }: Moment): PullState['run'] => ({
  since: now,
  renewAt: now + settings.renewInterval * (0.75 + random / 4),
  answered: false,
  progressed: false,
  caughtUp: false,
})

const identified = (setup: PullSetup, state: PullState, wasCreated: boolean, outcome: Outcome, moment: Moment): PullState => {
  if (outcome._tag === 'Failed') return lost(setup, state, outcome.failure, moment)
  const { backendId: id, tail } = outcome._tag === 'Identified' ? outcome : { backendId: undefined, tail: undefined }
  if (id === undefined && moment.remembered === undefined && setup.live && !wasCreated) {
    return { ...state, phase: { _tag: 'Creating', identify: true } }
  }
  if (id !== undefined && moment.remembered === undefined) {
    return { ...state, phase: { _tag: 'Learning', backendId: id, read: undefined } }
  }
  if (isOther(id, moment)) return doubting(state, { _tag: 'Claim', backendId: id, url: 'the log' })
  // An offset beyond the log's end is of another server, or the log has lost events: it would be answered with nothing, for ever.
  const elsewhere = tail !== undefined && state.offset > tail ? otherPlace(setup, state) : undefined
  return elsewhere === undefined ? { ...state, phase: { _tag: 'Reading' } } : begin(setup, elsewhere, moment)
}

const learned = (
  setup: PullSetup,
  state: PullState,
  { backendId, read }: Extract<Phase, { readonly _tag: 'Learning' }>,
  outcome: Outcome,
  moment: Moment,
): PullState => {
  if (outcome._tag === 'Failed') return lost(setup, state, outcome.failure, moment)
  if (read === undefined) return { ...state, phase: { _tag: 'Reading' } }
  return judged(setup, state, read.page, read.from, { ...moment, remembered: backendId })
}

/** Of a page that was read, and of everything that can come in its stead. */
const answered = (setup: PullSetup, state: PullState, from: Following, outcome: Outcome, moment: Moment): PullState => {
  // Of another backend nothing else is worth a look.
  if ((outcome._tag === 'Torn' || outcome._tag === 'Failed') && isOther(outcome.backendId, moment)) {
    return doubting(state, { _tag: 'Claim', backendId: outcome.backendId, url: 'the server' })
  }
  switch (outcome._tag) {
    case 'Page':
      return judged(setup, { ...state, run: { ...state.run, answered: true } }, outcome.page, hearing(from), moment)
    case 'Torn':
      return torn(setup, state, outcome.failure, moment)
    case 'Elapsed':
    case 'Woken':
      return renewed(setup, state, from, moment)
    case 'Ended':
      return lost(setup, noteSse(state, from, 'cut', moment), undefined, moment)
    case 'NoStreams':
      return goLive(setup, { ...state, canStream: false }, moment)
    case 'Stalled': {
      const end = outcome.heard ? 'cut' : 'silence'
      return lost(setup, withoutSpread(noteSse(state, from, end, moment)), outcome.failure, moment)
    }
    case 'Failed':
      return failed(setup, noteSse(state, from, 'cut', moment), outcome.failure, moment)
    default:
      return state
  }
}

const isOther = (backendId: string | undefined, { remembered }: Moment): backendId is string =>
  backendId !== undefined && remembered !== undefined && backendId !== remembered

const hearing = (from: Following): Following => (from._tag === 'Following' ? { ...from, heard: true } : from)

const renewed = (setup: PullSetup, state: PullState, from: Following, moment: Moment): PullState => {
  const overdue = isBehind(state) ? state.overdue + 1 : state.overdue
  return begin(setup, { ...noteSse(state, from, 'left', moment), overdue }, moment)
}

const noteSse = (state: PullState, from: Following, end: SseLife['end'], { now }: Moment): PullState => {
  if (from._tag !== 'Following') return state
  const life = { lastedMs: now - from.since, heard: from.heard, end }
  return { ...state, liveMode: afterSse(state.liveMode, life, now) }
}

const judged = (setup: PullSetup, state: PullState, page: LogPage, from: Following, moment: Moment): PullState => {
  const read = readFrom(state, page)
  if (read._tag === 'Foreign') {
    const failure = new ForeignAnswer(page.url, 200, `it holds ${read.found}, which is no event`)
    return failed(setup, noteSse({ ...state, fresh: true }, from, 'cut', moment), failure, moment)
  }
  // The log's own word goes first: on a first contact it is the one to remember.
  for (const id of [read.backendId ?? idFromStart(setup, state, page), page.backendId]) {
    if (id === undefined || id === moment.remembered) continue
    if (moment.remembered !== undefined) return doubting(state, { _tag: 'Claim', backendId: id, url: page.url })
    if (setup.party === 'worker') return doubting(state, { _tag: 'FirstPage', backendId: id, page, from })
    return { ...state, phase: { _tag: 'Learning', backendId: id, read: { page, from } } }
  }
  if (state.offset !== START_OFFSET && page.next < state.offset) return doubting(state, { _tag: 'Backwards', page, from })
  return linked(setup, state, read, page, from, moment)
}

/** A position that is no hint lies right behind its event. */
const readFrom = ({ seqNum, offset, bySeqNum, isHint }: PullState, { messages }: LogPage): Page =>
  readPage(messages, seqNum, !isHint && !bySeqNum && offset !== START_OFFSET)

const idFromStart = ({ party, implicitId }: PullSetup, state: PullState, { messages }: LogPage): string | undefined =>
  party === 'log' && state.offset === START_OFFSET && messages.length > 0 ? implicitId : undefined

const linked = (
  setup: PullSetup,
  state: PullState,
  read: Exclude<Page, { readonly _tag: 'Foreign' }>,
  page: LogPage,
  from: Following,
  moment: Moment,
): PullState => {
  if (read._tag === 'Broken') return broken(setup, noteSse(state, from, 'cut', moment), read, moment)
  const elsewhere = read.events.length === 0 ? betterPlace(setup, state, page) : undefined
  if (elsewhere !== undefined) return begin(setup, elsewhere, moment)
  if (endsTooEarly(setup, state, page)) {
    const why = new TransportError(`the log ends before event ${state.seqNum}`)
    return beyond(setup, withoutSpread(state), why, moment)
  }
  const stuck = !page.upToDate && page.next === state.offset
  const accepted = accept(setup, state, read.events, page)
  if (stuck) return lost(setup, accepted, leadsNowhere(setup, page), moment)
  if (!accepted.run.caughtUp) return { ...accepted, phase: { _tag: 'Reading' } }
  if (!setup.live) return { ...accepted, phase: { _tag: 'Done' }, failures: 0 }
  if (from._tag === 'Following') return { ...accepted, phase: from }
  // A long-poll that is answered at once, with nothing, is answered by a cache.
  const isHollow = from._tag === 'Polling' && read.events.length === 0 && moment.now - from.since < SHORTEST_LIFE_MS
  return isHollow ? lost(setup, withoutSpread(accepted), undefined, moment) : goLive(setup, accepted, moment)
}

const goLive = (setup: PullSetup, state: PullState, moment: Moment): PullState => {
  if (state.run.renewAt <= moment.now) return begin(setup, state, moment)
  const streams = state.canStream && liveModeAt(state.liveMode, moment.now) === 'sse'
  return { ...state, phase: streams ? { _tag: 'Opening' } : { _tag: 'Polling', since: moment.now } }
}

const accept = (setup: PullSetup, state: PullState, events: ReadonlyArray<LiveStoreEvent.Global.Encoded>, page: LogPage): PullState => {
  const isEnd = page.upToDate || state.run.caughtUp
  const items = cutPage(events, {
    readFrom: state.bySeqNum ? undefined : state.offset,
    next: page.next,
    upToDate: isEnd,
    head: setup.party === 'worker' ? (page.head ?? 0) : undefined,
    maxItemEvents: setup.settings.maxItemEvents,
  })
  const saysNoMore = isEnd && events.length === 0 && (!state.started || state.owesNoMore)
  const hasNews = events.length > 0
  const seqNum = events.at(-1)?.seqNum ?? state.seqNum
  return {
    ...state,
    offset: page.next,
    seqNum,
    tail: page.upToDate ? { offset: page.next, head: seqNum } : undefined,
    bySeqNum: false,
    cursor: page.cursor ?? state.cursor,
    ready: saysNoMore ? [EMPTY_ITEM] : items,
    overdue: hasNews ? 0 : state.overdue,
    run: { ...state.run, progressed: state.run.progressed || hasNews, caughtUp: isEnd },
    canStream: state.canStream && page.canStream,
    isHint: state.isHint && decodeEvent(page.messages.at(-1))?.seqNum !== seqNum,
    suspect: false,
    brokenSince: undefined,
    fresh: false,
    connected: true,
    problem: undefined,
  }
}

/** The whole of a log that lost events, or is another one with the same id. The Worker says so itself. */
const endsTooEarly = ({ party }: PullSetup, state: PullState, { messages, upToDate }: LogPage): boolean =>
  party === 'log' && state.offset === START_OFFSET && upToDate && messages.length > 0 && (decodeEvent(messages.at(-1))?.seqNum ?? 0) < state.seqNum

/** A page whose end is its beginning, and not the log's. */
const leadsNowhere = ({ party }: PullSetup, { url }: LogPage): HttpFailure =>
  party === 'worker' ? new ForeignAnswer(url, 200, 'it ends where it begins') : new TransportError('a page that leads nowhere')

/** A break is never given on. A stale position or a torn delivery heals when read again; a broken log does not. */
const broken = (
  setup: PullSetup,
  state: PullState,
  { expected, found }: Extract<Page, { readonly _tag: 'Broken' }>,
  moment: Moment,
): PullState => {
  const suspect = { ...state, suspect: true, brokenSince: state.brokenSince ?? moment.now, fresh: true }
  // What follows a page may break again and again, though the page does not.
  if (state.run.caughtUp) return lost(setup, withoutSpread(suspect), new TransportError(`expected ${expected}, found ${found}`), moment)
  if (!state.suspect) return begin(setup, suspect, moment)
  const elsewhere = state.isHint ? otherPlace(setup, state) : undefined
  if (elsewhere !== undefined) return begin(setup, elsewhere, moment)
  const note = `the log is broken after offset ${state.offset}: expected ${expected}, found ${found}`
  return doubting(state, { _tag: 'Broken', end: { _tag: 'Broken', note, payload: { offset: state.offset, seqNum: state.seqNum, expected, found } } })
}

/** What is torn on its way comes whole when it is read again; what begins within a record does not. */
const torn = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  if (!state.suspect) return lost(setup, { ...state, suspect: true }, failure, moment)
  const elsewhere = state.isHint ? otherPlace(setup, state) : undefined
  return elsewhere === undefined ? doubting(state, { _tag: 'Torn', failure }) : begin(setup, elsewhere, moment)
}

/** An offset is a hint. One that leads to nothing good is left for the place of the seqNum, and that for the log's start. */
const otherPlace = (setup: PullSetup, state: PullState): PullState | undefined => {
  if (!state.bySeqNum && state.offset === START_OFFSET) return undefined
  const bySeqNum = !state.bySeqNum && canFindBySeqNum(setup, state.seqNum)
  return { ...state, bySeqNum, offset: START_OFFSET, suspect: false, fresh: true }
}

/**
 * A server answers an offset beyond its log's end with nothing, as if the log ended there. Where the log is known to go on,
 * by the Worker's head or by pushes that were refused, its place is found by seqNum; for each such push once.
 */
const betterPlace = (setup: PullSetup, state: PullState, { upToDate, head }: LogPage): PullState | undefined => {
  const goesOn = (head ?? 0) > state.seqNum || (isBehind(state) && state.overdue === 2)
  return upToDate && goesOn && !state.bySeqNum && !state.run.caughtUp ? otherPlace(setup, state) : undefined
}

const canFindBySeqNum = ({ party }: PullSetup, seqNum: number): boolean => party === 'worker' && seqNum > 0

/** An answer that brought nothing, or none. */
const failed = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  if (failure._tag !== 'ResponseError' || isTransient(failure)) return lost(setup, state, failure, moment)
  if (setup.party === 'log' && failure.status === 404) return missing(setup, state, failure, moment)
  if (failure.problem['field'] === 'after') return doubting(state, { _tag: 'Beyond', failure })
  const elsewhere = failure.status === 400 || failure.status === 410 ? otherPlace(setup, state) : undefined
  if (elsewhere === undefined) return refused(setup, state, failure, moment)
  return state.isHint && !state.run.answered ? begin(setup, elsewhere, moment) : lost(setup, elsewhere, failure, moment)
}

/** What time alone may not mend. A live pull waits for it all the same: tokens, rights and addresses change. */
const refused = (setup: PullSetup, state: PullState, failure: ResponseError, moment: Moment): PullState => {
  const hidesOffsets = failure.status === 200
  if (hidesOffsets && !state.suspect) return begin(setup, { ...state, suspect: true, fresh: true }, moment)
  if (!setup.live || (hidesOffsets && !state.started)) return ended(state, { _tag: 'Failure', failure })
  return lost(setup, state, failure, moment)
}

/** What the Worker does for a store without a stream (docs/wire.md): there is nothing, or it is made to be followed. */
const missing = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  // A device that knows a backend has its events. Nothing shows that they were meant to be gone.
  if (moment.remembered !== undefined) return doubting(state, { _tag: 'Missing', failure })
  if (setup.live) return { ...state, phase: { _tag: 'Creating', identify: false } }
  const empty = { url: '', messages: [], next: state.offset, upToDate: true, cursor: undefined, backendId: undefined, head: undefined, canStream: true }
  return { ...accept(setup, state, [], empty), phase: { _tag: 'Done' }, failures: 0 }
}

const created = (setup: PullSetup, state: PullState, identify: boolean, outcome: Outcome, moment: Moment): PullState => {
  const failure = outcome._tag === 'Failed' ? outcome.failure : undefined
  // A client that may only read has all there is, until someone else makes the stream.
  const isReader = failure !== undefined && isDenied(failure)
  if (failure !== undefined && !isReader) return lost(setup, state, failure, moment)
  if (identify) return { ...state, phase: { _tag: 'Identifying', created: true } }
  const failures = state.failures + 1
  return rest(
    {
      ...state,
      failures,
      ready: isReader && !state.started ? [EMPTY_ITEM] : sayingNoMore(state),
      ...(isReader ? { connected: true, problem: undefined } : {}),
    },
    backoffDelay(isReader ? failures : failures - 1, setup.settings, moment.random),
  )
}

const doubting = (state: PullState, doubt: Doubt): PullState => ({ ...state, phase: { _tag: 'Doubting', doubt } })

/** The server has said whose log it is now. */
const confirmed = (setup: PullSetup, state: PullState, doubt: Doubt, outcome: Outcome, moment: Moment): PullState => {
  // Sealed history is served while nobody can say more. Only another word of the server counts against a first page.
  if (doubt._tag === 'FirstPage' && outcome._tag === 'Failed') return learning(state, doubt)
  const hasAnswered = outcome._tag === 'Identified' || (outcome._tag === 'Failed' && hasSeenTheBreak(outcome.failure))
  if (!hasAnswered) {
    // An answer that can't be judged is no answer: it is asked for again.
    const failure = outcome._tag === 'Failed' ? outcome.failure : undefined
    return lost(setup, { ...state, fresh: true }, failure ?? new TransportError('nobody says whose log it is'), moment)
  }
  const received = outcome._tag === 'Identified' ? outcome.backendId : undefined
  const expected = moment.remembered
  if (expected !== undefined && isOther(received, moment)) {
    return ended(state, { _tag: 'BackendIdMismatch', expected, received })
  }
  switch (doubt._tag) {
    case 'FirstPage':
      if (received === doubt.backendId) return learning(state, doubt)
      return unconfirmed(setup, state, doubt.backendId, doubt.page.url, moment)
    case 'Claim':
      return unconfirmed(setup, state, doubt.backendId, doubt.url, moment)
    case 'Backwards': {
      const read = readFrom(state, doubt.page)
      return read._tag === 'Foreign' ? state : linked(setup, state, read, doubt.page, doubt.from, moment)
    }
    case 'Broken': {
      const hasLasted = moment.now - (state.brokenSince ?? moment.now) >= BREAK_LASTS_MS[setup.party]
      if (!setup.live || hasLasted || outcome._tag === 'Failed') return ended(state, doubt.end)
      const { note } = doubt.end
      return lost(setup, state, new TransportError(note), moment, { kind: 'log-broken', detail: note })
    }
    case 'Torn':
      return lost(setup, otherPlace(setup, state) ?? state, doubt.failure, moment)
    case 'Beyond':
      return beyond(setup, state, doubt.failure, moment)
    case 'Missing': {
      const detail = `${doubt.failure.message}: the log of which this device has events is not there. The device waits for it and gives nothing up`
      return lost(setup, state, new TransportError(detail), moment, { kind: 'log-missing', detail })
    }
  }
}

const learning = (state: PullState, { backendId, page, from }: Extract<Doubt, { readonly _tag: 'FirstPage' }>): PullState => ({
  ...state,
  phase: { _tag: 'Learning', backendId, read: { page, from } },
})

const unconfirmed = (setup: PullSetup, state: PullState, backendId: string, url: string, moment: Moment): PullState => {
  const failure = new ForeignAnswer(url, 200, `it is of backend ${backendId}, which the server does not confirm`)
  return lost(setup, { ...state, fresh: true }, failure, moment)
}

/** A server that has seen the broken log, too. Halted for another reason, it may go on. */
const hasSeenTheBreak = (failure: HttpFailure): boolean =>
  failure._tag === 'ResponseError' && isHaltedProblem(failure.problem) && failure.problem['reason'] === 'broken'

/** A log that lost events may get them back; meanwhile nothing of it is of use. */
const beyond = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  const detail = `the log ends before event ${state.seqNum}, which this store has: it is not the log this store was synced with`
  if (!setup.live) return ended(state, { _tag: 'Failure', failure, note: detail })
  return lost(setup, state, failure, moment, { kind: 'log-broken', detail })
}

const ended = (state: PullState, end: PullEnd): PullState => ({
  ...state,
  connected: false,
  phase: { _tag: 'Ended', end },
  problem: problemOfEnd(end),
})

const problemOfEnd = (end: PullEnd): Problem => {
  switch (end._tag) {
    case 'BackendIdMismatch':
      return { kind: 'backend-mismatch', detail: `the store was reset: its backend was ${end.expected} and is ${end.received}` }
    case 'Broken':
      return { kind: 'log-broken', detail: end.note }
    case 'Failure':
      return { ...problemOf(end.failure, undefined), ...(end.note === undefined ? {} : { detail: end.note }) }
  }
}

/** A run is over before its time: the next one begins after a pause. */
const lost = (
  setup: PullSetup,
  state: PullState,
  failure: HttpFailure | undefined,
  moment: Moment,
  problem?: Pick<Problem, 'kind' | 'detail'>,
): PullState => {
  const { settings } = setup
  const { run } = state
  const wasGood = run.progressed || (run.answered && moment.now - run.since >= SHORTEST_LIFE_MS)
  const failures = wasGood ? 0 : state.failures + 1
  if (!setup.live && failures >= settings.attempts) {
    return ended({ ...state, failures }, { _tag: 'Failure', failure: failure ?? new TransportError('the server closed the read') })
  }
  const pause = pauseAfter(setup, failures, failure, moment)
  // Many readers lose their connections at the same moment, and must not all come back at the same one.
  const spread = run.caughtUp ? moment.random * settings.reconnectSpread * (failure === undefined ? 0.25 : 1) : 0
  const ms = Math.max(pause, spread)
  // A connection that worked has ended; whether another one comes about is still to be seen.
  const flows = run.answered && problem === undefined && failure?._tag !== 'ForeignAnswer'
  return rest(
    {
      ...state,
      failures,
      ready: sayingNoMore(state),
      connected: flows ? state.connected : false,
      problem: flows || failure === undefined ? state.problem : { ...problemOf(failure, ms), ...problem },
    },
    ms,
    spread > pause,
  )
}

/** More was said to come. Where it does not for now, an item that takes it back lets local pushes go on. */
const sayingNoMore = ({ ready, owesNoMore }: PullState): ReadonlyArray<PullItem> => {
  const last = ready.at(-1)
  return (last === undefined ? owesNoMore : last.pageInfo._tag !== 'NoMore') ? [...ready, EMPTY_ITEM] : ready
}

const pauseAfter = ({ settings }: PullSetup, failures: number, failure: HttpFailure | undefined, { random }: Moment): number => {
  const isRefusal = failure !== undefined && !isTransient(failure)
  const limits = isRefusal ? { ...settings, maxDelay: settings.maxDelay * REFUSED_DELAY_FACTOR } : settings
  const backoff = failure === undefined || failures > 0 ? backoffDelay(failures, limits, random) : backoffDelay(1, limits, random) / 2
  const asked = failure === undefined ? 0 : retryAfterMs(failure)
  return Math.max(backoff, asked * (1 + random))
}

/** What follows is no loss of a connection that many share. */
const withoutSpread = (state: PullState): PullState => ({ ...state, run: { ...state.run, caughtUp: false } })

const rest = (state: PullState, ms: number, isSpread = false): PullState => ({ ...state, phase: { _tag: 'Resting', ms, isSpread } })
