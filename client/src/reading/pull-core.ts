/**
 * The decisions of a pull: a state machine without IO, clock or randomness, of the same kind as direct-core.ts.
 *
 * The contract with its driver (pull.ts): carry out `commandOf`, give the outcome to `advance`, and repeat. The driver runs
 * only while LiveStore asks for the next item. Therefore LiveStore has processed every item before anything here changes.
 * Two of LiveStore's rules hold (LeaderSyncProcessor.ts, `backgroundBackendPulling`). Items wait while `isConnected` is
 * false. Local pushes wait from an item that announces more until one that says `NoMore`. A lost connection leaves neither
 * waiting.
 *
 * Invariants:
 * - The pull gives an event only if it links to the one given before.
 * - A live pull ends only for another backend, for a break of the chain, or for a log whose offsets are hidden. A second
 *   answer of the server confirms the first two. Whatever else happens, the pull tries again.
 * - The machine believes only answers that authenticity.ts has found to be the server's own.
 *
 * The parts, from the bottom up: pull-state.ts, pull-retry.ts, pull-page.ts (a page came), pull-failure.ts (none came),
 * pull-doubts.ts (the server was asked).
 */
import { backoffDelay } from '../http/backoff.ts'
import type { Start } from './cursor.ts'
import { type LiveMode, startLiveMode } from './live-mode.ts'
import { START_OFFSET } from './page.ts'
import { onConfirmation } from './pull-doubts.ts'
import { onCreated, onFailure, onTornPage } from './pull-failure.ts'
import { onPage } from './pull-page.ts'
import { retryLater } from './pull-retry.ts'
import {
  begin,
  canFindBySeqNum,
  confirmFirst,
  fallBack,
  goLive,
  isAnotherBackend,
  isBehind,
  keepSocket,
  newRun,
  noteConnection,
  type PageOrigin,
  type Phase,
  type PullState,
  rest,
  withoutSpread,
} from './pull-state.ts'
import type { Command, Moment, Outcome, PullSetup, ReadQuery } from './pull-terms.ts'

export { isBehind, type PullState }

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
    canSocket: true,
    socket: undefined,
    isHint: true,
    suspect: false,
    brokenSince: undefined,
    atStore: false,
    fresh: false,
    connected: undefined,
    problem: undefined,
  }
  return failures > 0 ? rest(state, backoffDelay(failures, setup.settings, moment.random)) : begin(setup, state, moment)
}

/** A push has learned that the log has events up to this one. The pull catches up at once, and again until they came. */
export const requestCatchUp = (state: PullState, seqNum: number): PullState => ({
  ...state,
  target: Math.max(state.target, seqNum),
})

/** The pull waits only so that not all readers come back at once. */
export const isSpreading = ({ phase }: PullState): boolean => phase._tag === 'Resting' && phase.isSpread

/** The pull uses a live connection. */
export const isFollowing = ({ phase, socket }: PullState): boolean => {
  if (socket !== undefined) return true
  if (phase._tag === 'Learning') return phase.read?.from._tag === 'Following'
  if (phase._tag === 'Doubting') return 'from' in phase.doubt && phase.doubt.from._tag === 'Following'
  return phase._tag === 'Following'
}

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
      return { _tag: 'Read', query: queryOf(state, 'long-poll', moment), withinMs: patienceMs(setup, state, moment) }
    case 'Opening':
      return { _tag: 'Listen', query: { ...queryOf(state, phase.mode, moment), live: phase.mode } }
    case 'Following':
      return { _tag: 'Next', seqNum: state.seqNum, withinMs: patienceMs(setup, state, moment) }
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
  // A client that remembers no backend can't recognize a cached page of an old one.
  const fresh = live === undefined && (state.fresh || remembered === undefined)
  return {
    offset: state.offset,
    after: state.bySeqNum ? state.seqNum : undefined,
    live,
    cursor: state.cursor,
    backendId: remembered,
    atStore: state.atStore,
    nonce: fresh ? random.toString(36).slice(2, 12) : undefined,
    fresh,
  }
}

/**
 * A run that has caught up gives way to a newer one in good time. After a push that found events missing, it gives way soon:
 * the pull still follows the connection, but no longer trusts it.
 */
const patienceMs = ({ settings }: PullSetup, state: PullState, { now, random }: Moment): number => {
  const untilRenewal = Math.max(0, state.run.renewAt - now)
  return isBehind(state) ? Math.min(untilRenewal, backoffDelay(state.overdue + 1, settings, random)) : untilRenewal
}

export const advance = (setup: PullSetup, state: PullState, outcome: Outcome, moment: Moment): PullState => {
  if (state.ready.length > 0) return onGiven(state)
  const { phase } = state
  switch (phase._tag) {
    case 'Resting':
      return begin(setup, state, moment)
    case 'Identifying':
      return onIdentified(setup, state, phase.created, outcome, moment)
    case 'Creating':
      return onCreated(setup, state, phase.identify, outcome, moment)
    case 'Reading':
    case 'Polling':
    case 'Following':
      return onAnswer(setup, state, phase, outcome, moment)
    case 'Opening':
      return { ...state, phase: { _tag: 'Following', mode: phase.mode, since: moment.now, heard: false } }
    case 'Learning':
      return onLearned(setup, state, phase, outcome, moment)
    case 'Doubting':
      return onConfirmation(setup, state, phase.doubt, outcome, moment)
    case 'Done':
    case 'Ended':
      return state
  }
}

const onGiven = (state: PullState): PullState => {
  const [item, ...ready] = state.ready
  return { ...state, ready, started: true, owesNoMore: item?.pageInfo._tag !== 'NoMore' }
}

const onIdentified = (
  setup: PullSetup,
  state: PullState,
  wasCreated: boolean,
  outcome: Outcome,
  moment: Moment,
): PullState => {
  if (outcome._tag === 'Failed') return retryLater(setup, state, outcome.failure, moment)
  const { backendId: id, tail } = outcome._tag === 'Identified' ? outcome : { backendId: undefined, tail: undefined }
  if (id === undefined && moment.remembered === undefined && setup.live && !wasCreated) {
    return { ...state, phase: { _tag: 'Creating', identify: true } }
  }
  if (id !== undefined && moment.remembered === undefined) {
    return { ...state, phase: { _tag: 'Learning', backendId: id, read: undefined } }
  }
  if (isAnotherBackend(id, moment)) return confirmFirst(state, { _tag: 'Claim', backendId: id, url: 'the log' })
  // An offset beyond the log's end is another server's, or the log lost events. The server would answer nothing, forever.
  const elsewhere = tail !== undefined && state.offset > tail ? fallBack(setup, state) : undefined
  return elsewhere === undefined ? { ...state, phase: { _tag: 'Reading' } } : begin(setup, elsewhere, moment)
}

const onLearned = (
  setup: PullSetup,
  state: PullState,
  { backendId, read }: Extract<Phase, { readonly _tag: 'Learning' }>,
  outcome: Outcome,
  moment: Moment,
): PullState => {
  if (outcome._tag === 'Failed') return retryLater(setup, state, outcome.failure, moment)
  if (read === undefined) return { ...state, phase: { _tag: 'Reading' } }
  return onPage(setup, state, read.page, read.from, { ...moment, remembered: backendId })
}

/** A read or a live connection has brought a page, or anything in its place. */
const onAnswer = (
  setup: PullSetup,
  state: PullState,
  from: PageOrigin,
  outcome: Outcome,
  moment: Moment,
): PullState => {
  // Nothing else in an answer of another backend matters.
  if ((outcome._tag === 'Torn' || outcome._tag === 'Failed') && isAnotherBackend(outcome.backendId, moment)) {
    return confirmFirst(state, { _tag: 'Claim', backendId: outcome.backendId, url: 'the server' })
  }
  switch (outcome._tag) {
    case 'Page':
      return onPage(setup, { ...state, run: { ...state.run, answered: true } }, outcome.page, asHeard(from), moment)
    case 'Torn':
      return onTornPage(setup, state, outcome.failure, moment)
    case 'Elapsed':
    case 'Woken':
      return renew(setup, state, from, moment)
    case 'Ended':
      return retryLater(setup, noteConnection(state, from, 'cut', moment), undefined, moment)
    case 'Cut':
      return retryLater(setup, noteConnection(state, asHeard(from), 'cut', moment), outcome.failure, moment)
    case 'Behind':
      return renew(setup, requestCatchUp(state, outcome.head), asHeard(from), moment)
    case 'NoStreams':
      return goLive(setup, { ...state, canStream: false }, moment)
    case 'NoSocket':
      return goLive(setup, { ...state, canSocket: false }, moment)
    case 'Stalled': {
      const noted = outcome.heard
        ? noteConnection(state, asHeard(from), 'cut', moment)
        : noteConnection(state, from, 'silence', moment)
      return retryLater(setup, withoutSpread(noted), outcome.failure, moment)
    }
    case 'Failed':
      return onFailure(setup, noteConnection(state, from, 'cut', moment), outcome.failure, moment)
    default:
      return state
  }
}

const asHeard = (from: PageOrigin): PageOrigin => (from._tag === 'Following' ? { ...from, heard: true } : from)

const renew = (setup: PullSetup, state: PullState, from: PageOrigin, moment: Moment): PullState => {
  const overdue = isBehind(state) ? state.overdue + 1 : state.overdue
  // A catch-up leaves a streamed response, but not a socket.
  const kept = keepSocket(state, from)
  const left = kept.socket === undefined ? noteConnection(state, from, 'left', moment) : kept
  return begin(setup, { ...left, overdue }, moment)
}
