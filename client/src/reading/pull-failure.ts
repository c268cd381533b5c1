/** A read has brought no page: it failed, was refused, or there is no log. */
import { backoffDelay } from '../http/backoff.ts'
import { type HttpFailure, isDenied, isTransient, type ResponseError } from '../http/errors.ts'
import { EMPTY_ITEM } from './page.ts'
import { acceptPage } from './pull-page.ts'
import { endPull, retryLater, withNoMore } from './pull-retry.ts'
import { begin, confirmFirst, fallBack, type PullState, rest } from './pull-state.ts'
import type { Moment, Outcome, PullSetup } from './pull-terms.ts'

export const onFailure = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  if (failure._tag !== 'ResponseError' || isTransient(failure)) return retryLater(setup, state, failure, moment)
  if (setup.party === 'log' && failure.status === 404) return onMissingLog(setup, state, failure, moment)
  // The store was deleted for good, its log was moved, or the Worker is older than the incarnation's address. The store's own URL
  // tells which: there a live read begins another log, and the id of that one ends the pull. A log that was moved has the same id.
  const isMoved = failure.problem['_tag'] === 'IncarnationGoneError'
  if (
    setup.party === 'worker' &&
    (failure.status === 404 || isMoved) &&
    moment.remembered !== undefined &&
    !state.atStore
  ) {
    // Offsets of the old place mean nothing at the new one
    const elsewhere = isMoved ? (fallBack(setup, state) ?? state) : state
    return begin(setup, { ...elsewhere, atStore: true, fresh: true }, moment)
  }
  if (failure.problem['field'] === 'after') return confirmFirst(state, { _tag: 'Beyond', failure })
  const elsewhere = failure.status === 400 || failure.status === 410 ? fallBack(setup, state) : undefined
  if (elsewhere === undefined) return onRefusal(setup, state, failure, moment)
  return state.isHint && !state.run.answered
    ? begin(setup, elsewhere, moment)
    : retryLater(setup, elsewhere, failure, moment)
}

/** Time alone may not mend a refusal. A live pull waits all the same: tokens, rights and addresses change. */
const onRefusal = (setup: PullSetup, state: PullState, failure: ResponseError, moment: Moment): PullState => {
  const hidesOffsets = failure.status === 200
  if (hidesOffsets && !state.suspect) return begin(setup, { ...state, suspect: true, fresh: true }, moment)
  if (!setup.live || (hidesOffsets && !state.started)) return endPull(state, { _tag: 'Failure', failure })
  return retryLater(setup, state, failure, moment)
}

/** A second read heals a page that was torn on its way, but not an offset inside a record. */
export const onTornPage = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  if (!state.suspect) return retryLater(setup, { ...state, suspect: true }, failure, moment)
  const elsewhere = state.isHint ? fallBack(setup, state) : undefined
  return elsewhere === undefined ? confirmFirst(state, { _tag: 'Torn', failure }) : begin(setup, elsewhere, moment)
}

/** The Worker's rule for a store without a stream (docs/http-api.md): a read is empty, and a live read creates the stream. */
const onMissingLog = (setup: PullSetup, state: PullState, failure: HttpFailure, moment: Moment): PullState => {
  // A device that knows a backend has its events. Nothing shows that they were meant to be gone.
  if (moment.remembered !== undefined) return confirmFirst(state, { _tag: 'Missing', failure })
  if (setup.live) return { ...state, phase: { _tag: 'Creating', identify: false } }
  const empty = {
    url: '',
    messages: [],
    next: state.offset,
    upToDate: true,
    cursor: undefined,
    backendId: undefined,
    head: undefined,
    canStream: true,
  }
  return { ...acceptPage(setup, state, [], empty), phase: { _tag: 'Done' }, failures: 0 }
}

export const onCreated = (
  setup: PullSetup,
  state: PullState,
  identify: boolean,
  outcome: Outcome,
  moment: Moment,
): PullState => {
  const failure = outcome._tag === 'Failed' ? outcome.failure : undefined
  // A client that may only read has all there is, until another client creates the stream.
  const isReader = failure !== undefined && isDenied(failure)
  if (failure !== undefined && !isReader) return retryLater(setup, state, failure, moment)
  if (identify) return { ...state, phase: { _tag: 'Identifying', created: true } }
  const failures = state.failures + 1
  return rest(
    {
      ...state,
      failures,
      ready: isReader && !state.started ? [EMPTY_ITEM] : withNoMore(state),
      ...(isReader ? { connected: true, problem: undefined } : {}),
    },
    backoffDelay(isReader ? failures : failures - 1, setup.settings, moment.random),
  )
}
