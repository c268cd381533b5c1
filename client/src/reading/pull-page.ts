/** A page has come: its backend, its chain, and where the pull goes on. */
import type { LiveStoreEvent } from '@livestore/common/schema'

import { ForeignAnswer, type HttpFailure, TransportError } from '../http/errors.ts'
import { decodeEvent } from '../store/event.ts'
import { cutPage, EMPTY_ITEM, type Page, readPage, START_OFFSET } from './page.ts'
import { endPull, retryLater } from './pull-retry.ts'
import {
  begin,
  canFindBySeqNum,
  confirmFirst,
  fallBack,
  goLive,
  isBehind,
  noteConnection,
  type PageOrigin,
  type PullState,
  SHORTEST_LIFE_MS,
  withoutSpread,
} from './pull-state.ts'
import type { LogPage, Moment, PullSetup } from './pull-terms.ts'

export const onPage = (
  setup: PullSetup,
  state: PullState,
  page: LogPage,
  from: PageOrigin,
  moment: Moment,
): PullState => {
  const read = readFrom(state, page)
  if (read._tag === 'Foreign') {
    const failure = new ForeignAnswer(page.url, 200, `it holds ${read.found}, which is not an event`)
    return retryLater(setup, noteConnection({ ...state, fresh: true }, from, 'cut', moment), failure, moment)
  }
  // The log's own header goes first: on a first contact its id is the one to remember.
  for (const id of [read.backendId ?? idFromStart(setup, state, page), page.backendId]) {
    if (id === undefined || id === moment.remembered) continue
    if (moment.remembered !== undefined) return confirmFirst(state, { _tag: 'Claim', backendId: id, url: page.url })
    if (setup.party === 'worker') return confirmFirst(state, { _tag: 'FirstPage', backendId: id, page, from })
    return { ...state, phase: { _tag: 'Learning', backendId: id, read: { page, from } } }
  }
  if (state.offset !== START_OFFSET && page.next < state.offset)
    return confirmFirst(state, { _tag: 'Backwards', page, from })
  return applyPage(setup, state, read, page, from, moment)
}

/** A position that is no hint lies right behind its event. */
export const readFrom = ({ seqNum, offset, bySeqNum, isHint }: PullState, { messages }: LogPage): Page =>
  readPage(messages, seqNum, !isHint && !bySeqNum && offset !== START_OFFSET)

const idFromStart = ({ party, implicitId }: PullSetup, state: PullState, { messages }: LogPage): string | undefined =>
  party === 'log' && state.offset === START_OFFSET && messages.length > 0 ? implicitId : undefined

export const applyPage = (
  setup: PullSetup,
  state: PullState,
  read: Exclude<Page, { readonly _tag: 'Foreign' }>,
  page: LogPage,
  from: PageOrigin,
  moment: Moment,
): PullState => {
  if (read._tag === 'Broken') return onBrokenChain(setup, noteConnection(state, from, 'cut', moment), read, moment)
  const elsewhere = read.events.length === 0 ? fallBackIfLogGoesOn(setup, state, page) : undefined
  if (elsewhere !== undefined) return begin(setup, elsewhere, moment)
  if (endsTooEarly(setup, state, page)) {
    const why = new TransportError(`the log ends before event ${state.seqNum}`)
    return onTruncatedLog(setup, withoutSpread(state), why, moment)
  }
  const stuck = !page.upToDate && page.next === state.offset
  const accepted = acceptPage(setup, state, read.events, page)
  if (stuck) return retryLater(setup, accepted, leadsNowhere(setup, page), moment)
  if (!accepted.run.caughtUp) return { ...accepted, phase: { _tag: 'Reading' } }
  if (!setup.live) return { ...accepted, phase: { _tag: 'Done' }, failures: 0 }
  if (page.closed === true) return onClosedLog(setup, noteConnection(accepted, from, 'left', moment), moment)
  if (from._tag === 'Following') return { ...accepted, phase: from }
  // A cache answers a long-poll at once, with nothing.
  const isHollow = from._tag === 'Polling' && read.events.length === 0 && moment.now - from.since < SHORTEST_LIFE_MS
  return isHollow ? retryLater(setup, withoutSpread(accepted), undefined, moment) : goLive(setup, accepted, moment)
}

/** The store is archived. A live read would end at once. A socket stays, and tells a reset. */
const onClosedLog = (setup: PullSetup, state: PullState, moment: Moment): PullState => {
  const live = goLive(setup, state, moment)
  return live.phase._tag === 'Polling' || (live.phase._tag === 'Opening' && live.phase.mode === 'sse')
    ? retryLater(setup, state, undefined, moment)
    : live
}

export const acceptPage = (
  setup: PullSetup,
  state: PullState,
  events: ReadonlyArray<LiveStoreEvent.Global.Encoded>,
  page: LogPage,
): PullState => {
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

/**
 * A broken page is never passed on. A second read heals a stale position or a torn delivery, but not a broken log.
 */
const onBrokenChain = (
  setup: PullSetup,
  state: PullState,
  { expected, found }: Extract<Page, { readonly _tag: 'Broken' }>,
  moment: Moment,
): PullState => {
  const suspect = { ...state, suspect: true, brokenSince: state.brokenSince ?? moment.now, fresh: true }
  // A live connection may break again and again, though the page before it does not.
  if (state.run.caughtUp)
    return retryLater(setup, withoutSpread(suspect), new TransportError(`expected ${expected}, found ${found}`), moment)
  if (!state.suspect) return begin(setup, suspect, moment)
  // An answer of an older state of the log may have moved the position. The last event is sure.
  const isSure = !state.isHint && (state.bySeqNum || !canFindBySeqNum(setup, state.seqNum))
  const elsewhere = isSure ? undefined : fallBack(setup, state)
  if (elsewhere !== undefined) return begin(setup, elsewhere, moment)
  const note = `the log is broken after offset ${state.offset}: expected ${expected}, found ${found}`
  return confirmFirst(state, {
    _tag: 'Broken',
    end: { _tag: 'Broken', note, payload: { offset: state.offset, seqNum: state.seqNum, expected, found } },
  })
}

/** The log lost events, or it is another one with the same id. The Worker reports that itself. */
const endsTooEarly = ({ party }: PullSetup, state: PullState, { messages, upToDate }: LogPage): boolean =>
  party === 'log' &&
  state.offset === START_OFFSET &&
  upToDate &&
  messages.length > 0 &&
  (decodeEvent(messages.at(-1))?.seqNum ?? 0) < state.seqNum

/** A log that lost events may get them back. Until then the pull uses nothing of it. */
export const onTruncatedLog = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  const detail = `the log ends before event ${state.seqNum}, which this device has. Either the log lost events, or it is not the log that this device was synced with`
  if (!setup.live) return endPull(state, { _tag: 'Failure', failure, note: detail })
  return retryLater(setup, state, failure, moment, { kind: 'log-broken', detail })
}

/** The page ends where it begins, before the log's end. */
const leadsNowhere = ({ party }: PullSetup, { url }: LogPage): HttpFailure =>
  party === 'worker'
    ? new ForeignAnswer(url, 200, 'the page ends where it begins, but the log goes on')
    : new TransportError('the page ends where it begins, but the log goes on')

/**
 * A server answers an offset beyond its log's end with nothing, as if the log ended there. The Worker's head, or pushes that
 * were refused, show that the log goes on. Then the pull finds its position by seqNum, once for each such push.
 */
const fallBackIfLogGoesOn = (
  setup: PullSetup,
  state: PullState,
  { upToDate, head }: LogPage,
): PullState | undefined => {
  const goesOn = (head ?? 0) > state.seqNum || (isBehind(state) && state.overdue === 2)
  return upToDate && goesOn && !state.bySeqNum && !state.run.caughtUp ? fallBack(setup, state) : undefined
}
