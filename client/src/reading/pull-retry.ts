/** The end of a run of reads: the pull pauses before the next one, or it ends. pull-failure.ts decides that there is an end. */
import { backoffDelay } from '../http/backoff.ts'
import { type HttpFailure, isTransient, retryAfterMs, TransportError } from '../http/errors.ts'
import { type Problem, problemOf } from '../store/problem.ts'
import { EMPTY_ITEM, type PullItem } from './page.ts'
import { type PullState, rest, SHORTEST_LIFE_MS } from './pull-state.ts'
import type { Moment, PullEnd, PullSetup } from './pull-terms.ts'

/** A refusal is asked about more seldom than a lost connection. */
const REFUSED_DELAY_FACTOR = 3

/** Ends a run before its time. The next one begins after a pause; a pull that is not live gives up after some of them. */
export const retryLater = (
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
    return endPull(
      { ...state, failures },
      { _tag: 'Failure', failure: failure ?? new TransportError('the server closed the read') },
    )
  }
  const pauseMs = retryDelay(setup, failures, failure, moment)
  // Many readers lose their connections at the same moment, and must not all come back at the same one.
  const spreadMs = run.caughtUp ? moment.random * settings.reconnectSpreadMs * (failure === undefined ? 0.25 : 1) : 0
  const ms = Math.max(pauseMs, spreadMs)
  // A working connection has ended. Only the next one shows whether events still flow.
  const flows = run.answered && problem === undefined && failure?._tag !== 'ForeignAnswer'
  return rest(
    {
      ...state,
      failures,
      ready: withNoMore(state),
      connected: flows ? state.connected : false,
      problem: flows || failure === undefined ? state.problem : { ...problemOf(failure, ms), ...problem },
    },
    ms,
    spreadMs > pauseMs,
  )
}

/** LiveStore's pushes wait after an item that announces more. An item with `NoMore` takes that back. */
export const withNoMore = ({ ready, owesNoMore }: PullState): ReadonlyArray<PullItem> => {
  const last = ready.at(-1)
  return (last === undefined ? owesNoMore : last.pageInfo._tag !== 'NoMore') ? [...ready, EMPTY_ITEM] : ready
}

const retryDelay = (
  { settings }: PullSetup,
  failures: number,
  failure: HttpFailure | undefined,
  { random }: Moment,
): number => {
  const isRefusal = failure !== undefined && !isTransient(failure)
  const limits = isRefusal ? { ...settings, maxDelayMs: settings.maxDelayMs * REFUSED_DELAY_FACTOR } : settings
  const backoff =
    failure === undefined || failures > 0 ? backoffDelay(failures, limits, random) : backoffDelay(1, limits, random) / 2
  const asked = failure === undefined ? 0 : retryAfterMs(failure)
  return Math.max(backoff, asked * (1 + random))
}

export const endPull = (state: PullState, end: PullEnd): PullState => ({
  ...state,
  connected: false,
  socket: undefined,
  phase: { _tag: 'Ended', end },
  problem: problemOfEnd(end),
})

const problemOfEnd = (end: PullEnd): Problem => {
  switch (end._tag) {
    case 'BackendIdMismatch':
      return {
        kind: 'backend-mismatch',
        detail: `the store was reset: its backend id was ${end.expected}, and now is ${end.received}`,
      }
    case 'Broken':
      return { kind: 'log-broken', detail: end.note }
    case 'Failure':
      return { ...problemOf(end.failure, undefined), ...(end.note === undefined ? {} : { detail: end.note }) }
  }
}
