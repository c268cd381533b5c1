/** Problems: they tell the app why a store does not sync. LiveStore's own interface has no place for it (docs/troubleshooting.md). */
import { type HttpFailure, isDenied, isTransient, type ProblemDetails } from '../http/errors.ts'
import { problemType } from '../protocol/index.js'

export interface Problem {
  readonly kind: ProblemKind
  /** Words for a person: what happened, and what to do. */
  readonly detail: string
  /** The HTTP status, if an answer said it. */
  readonly status?: number
  /** The address that was asked. */
  readonly url?: string
  /** When the provider tries again, in milliseconds from now. Without it time alone does not help. */
  readonly retryAfterMs?: number
  /** Of an event that can't be pushed: its sequence number. */
  readonly seqNum?: number
}

export type ProblemKind =
  /** No answer: the network or the server is away. */
  | 'unreachable'
  /** Somebody else answered: a captive portal, a redirect, a firewall, a cache. */
  | 'foreign-answer'
  /** The server refuses this client: its token, tenant, store or scope. */
  | 'refused'
  /** The server answers, but can't serve the store now: it is overloaded, limited or broken. */
  | 'unavailable'
  /** The store takes no pushes until its log is back or an administrator resets it. */
  | 'halted'
  /** The store has lost its log, or the log is not there yet; the provider waits for it. */
  | 'log-missing'
  /** The log is no chain, or ends before what this device has. */
  | 'log-broken'
  /** The store was reset. LiveStore does what `onBackendIdMismatch` says. */
  | 'backend-mismatch'
  /** An event can't be pushed, and neither can what follows it. */
  | 'event-not-pushable'

export const problemOf = (failure: HttpFailure, retryAfterMs: number | undefined): Problem => {
  const retry = retryAfterMs === undefined ? {} : { retryAfterMs }
  if (failure._tag === 'TransportError') return { kind: 'unreachable', detail: failure.message, ...retry }
  const { message: detail, status, url } = failure
  return { kind: kindOf(failure), detail, status, url, ...retry }
}

const kindOf = (failure: Exclude<HttpFailure, { _tag: 'TransportError' }>): ProblemKind => {
  if (failure._tag === 'ForeignAnswer') return 'foreign-answer'
  if (isHaltedProblem(failure.problem)) return 'halted'
  return isTransient(failure) && !isDenied(failure) ? 'unavailable' : 'refused'
}

/** The log can't be trusted, and pushes wait for an administrator or for the log's return (docs/troubleshooting.md). */
export const isHaltedProblem = ({ type }: ProblemDetails): boolean => type === problemType('store-halted')

export interface Problems {
  /** What reads have met last; nothing once they are served again. */
  readonly reading: (problem: Problem | undefined) => void
  /** What pushes have met last; nothing once one was accepted. */
  readonly writing: (problem: Problem | undefined) => void
}

/** Tells the app when there is another problem than before, or none any more. The writer's goes first, which is about own events, but for one that ended a pull. */
export const makeProblems = (onProblem: ((problem: Problem | undefined) => void) | undefined): Problems => {
  let reading: Problem | undefined
  let writing: Problem | undefined
  let told: Problem | undefined
  const tell = () => {
    const hasEnded = reading !== undefined && reading.retryAfterMs === undefined
    const now = hasEnded ? reading : (writing ?? reading)
    if (isSame(now, told) && !saysMore(now, told)) return
    told = now
    try {
      onProblem?.(now)
    } catch (error) {
      console.error('livestore-sync-durable-streams: onProblem threw', error)
    }
  }
  return {
    reading: (problem) => {
      reading = problem
      tell()
    },
    writing: (problem) => {
      writing = problem
      tell()
    },
  }
}

/** Retries of one problem differ in their pauses, and a rebase renumbers an event: neither makes it another problem. */
const isSame = (a: Problem | undefined, b: Problem | undefined): boolean =>
  a?.kind === b?.kind && a?.status === b?.status && a?.url === b?.url && reasonOf(a) === reasonOf(b)

/** Pings ask by `HEAD`, and a refusal of those has no words. Whichever answer explains more is told. */
const saysMore = (now: Problem | undefined, told: Problem | undefined): boolean =>
  now?.status !== undefined && now.detail.length > (told?.detail.length ?? 0)

const reasonOf = (problem: Problem | undefined): string | undefined =>
  problem?.kind === 'event-not-pushable' ? problem.detail.replace(/\d+/g, '') : undefined
