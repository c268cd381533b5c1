/** A doubt whether a log is the right one. The server has been asked, past every cache, which backend it has now. */
import { ForeignAnswer, type HttpFailure, TransportError } from '../http/errors.ts'
import { isHaltedProblem } from '../store/problem.ts'
import { START_OFFSET } from './page.ts'
import { applyPage, onTruncatedLog, readFrom } from './pull-page.ts'
import { endPull, retryLater } from './pull-retry.ts'
import { begin, type Doubt, fallBack, isAnotherBackend, type PullState } from './pull-state.ts'
import type { Moment, Outcome, PullSetup } from './pull-terms.ts'

/**
 * Answers that were mixed up on the way break the chain as well. Therefore a break must last so long before it ends a live
 * pull. A Worker that reports the break ends the doubt at once.
 */
const BREAK_LASTS_MS = { worker: 30_000, log: 1_000 }

export const onConfirmation = (
  setup: PullSetup,
  state: PullState,
  doubt: Doubt,
  outcome: Outcome,
  moment: Moment,
): PullState => {
  // Caches serve sealed history while the server does not answer. Only the server's own answer counts against a first page.
  if (doubt._tag === 'FirstPage' && outcome._tag === 'Failed') return learn(state, doubt)
  const hasAnswered = outcome._tag === 'Identified' || (outcome._tag === 'Failed' && reportsBreak(outcome.failure))
  if (!hasAnswered) {
    // Without an answer the doubt stays open. The pull reads again.
    const failure = outcome._tag === 'Failed' ? outcome.failure : undefined
    return retryLater(
      setup,
      { ...state, fresh: true },
      failure ?? new TransportError('the server does not say which backend id the log has'),
      moment,
    )
  }
  const received = outcome._tag === 'Identified' ? outcome.backendId : undefined
  const expected = moment.remembered
  if (expected !== undefined && isAnotherBackend(received, moment)) {
    return endPull(state, { _tag: 'BackendIdMismatch', expected, received })
  }
  return resolve(setup, state, doubt, received, outcome._tag === 'Failed', moment)
}

/** The server still has the remembered backend, or `reported` a break of its log. */
const resolve = (
  setup: PullSetup,
  state: PullState,
  doubt: Doubt,
  received: string | undefined,
  reported: boolean,
  moment: Moment,
): PullState => {
  switch (doubt._tag) {
    case 'FirstPage':
      if (received === doubt.backendId) return learn(state, doubt)
      return onUnconfirmed(setup, state, doubt.backendId, doubt.page.url, moment)
    case 'Claim':
      return onUnconfirmed(setup, state, doubt.backendId, doubt.url, moment)
    case 'Backwards': {
      const read = readFrom(state, doubt.page)
      // An older end of the same log says nothing about the position of this device. A store without a log ends at the start.
      if (setup.party === 'worker' && doubt.page.messages.length === 0 && doubt.page.next !== START_OFFSET)
        return begin(setup, fallBack(setup, state) ?? state, moment)
      return read._tag === 'Foreign' ? state : applyPage(setup, state, read, doubt.page, doubt.from, moment)
    }
    case 'Broken': {
      const hasLasted = moment.now - (state.brokenSince ?? moment.now) >= BREAK_LASTS_MS[setup.party]
      if (!setup.live || hasLasted || reported) return endPull(state, doubt.end)
      const { note } = doubt.end
      return retryLater(setup, state, new TransportError(note), moment, { kind: 'log-broken', detail: note })
    }
    case 'Torn':
      return retryLater(setup, fallBack(setup, state) ?? state, doubt.failure, moment)
    case 'Beyond':
      return onTruncatedLog(setup, state, doubt.failure, moment)
    case 'Missing': {
      const detail = `${doubt.failure.message}: the upstream has no log for this store, but this device has events of one. The device keeps them, and waits until the log is back`
      return retryLater(setup, state, new TransportError(detail), moment, { kind: 'log-missing', detail })
    }
  }
}

const learn = (
  state: PullState,
  { backendId, page, from }: Extract<Doubt, { readonly _tag: 'FirstPage' }>,
): PullState => ({
  ...state,
  phase: { _tag: 'Learning', backendId, read: { page, from } },
})

const onUnconfirmed = (
  setup: PullSetup,
  state: PullState,
  backendId: string,
  url: string,
  moment: Moment,
): PullState => {
  const failure = new ForeignAnswer(url, 200, `it names the backend id ${backendId}, which the server does not confirm`)
  return retryLater(setup, { ...state, fresh: true }, failure, moment)
}

/** The server has seen the broken log, too. A store that is halted for another reason may go on. */
const reportsBreak = (failure: HttpFailure): boolean =>
  failure._tag === 'ResponseError' && isHaltedProblem(failure.problem) && failure.problem['reason'] === 'broken'
