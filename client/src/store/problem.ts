/** Problems tell the app why a store does not sync (docs/troubleshooting.md). LiveStore's interface has no place for that. */
import { type HttpFailure, isDenied, isTransient, type ProblemDetails } from '../http/errors.ts'
import { problemType } from '../protocol/index.js'

export interface Problem {
  readonly kind: ProblemKind
  /** For a person: what happened, and what to do. */
  readonly detail: string
  /** The HTTP status of the answer, if there was one. */
  readonly status?: number
  /** The address of the request. */
  readonly url?: string
  /** The milliseconds until the provider tries again. If it is missing, waiting alone does not help. */
  readonly retryAfterMs?: number
  /** The sequence number of the event that can't be pushed. */
  readonly seqNum?: number
}

export type ProblemKind =
  /** Nobody answers: the network or the server is down. */
  | 'unreachable'
  /** Somebody else answered: a captive portal, a redirect, a firewall, a cache. */
  | 'foreign-answer'
  /** The server refuses this client's token, tenant, store or scope. */
  | 'refused'
  /** The server answers, but can't serve the store now: it is overloaded, limited or broken. */
  | 'unavailable'
  /** The store takes no pushes until its log is back or an administrator resets it. */
  | 'halted'
  /** The store is archived: it takes no more events, but can be read. */
  | 'closed'
  /** The store has lost its log, or the log is not there yet. The provider waits for it. */
  | 'log-missing'
  /** The log is not a chain, or ends before this device's last event. */
  | 'log-broken'
  /** The store was reset. LiveStore does what `onBackendIdMismatch` says. */
  | 'backend-mismatch'
  /** An event can't be pushed, and neither can the events after it. */
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
  if (isClosedProblem(failure.problem)) return 'closed'
  return isTransient(failure) && !isDenied(failure) ? 'unavailable' : 'refused'
}

/** The server does not trust the log. Pushes wait for an administrator or for the log's return (docs/troubleshooting.md). */
export const isHaltedProblem = ({ type }: ProblemDetails): boolean => type === problemType('store-halted')

/** The store takes no more events, however long its clients wait. */
export const isClosedProblem = ({ type }: ProblemDetails): boolean => type === problemType('store-closed')

export interface Problems {
  /** The last problem of reads; undefined once the server serves them again. */
  readonly reading: (problem: Problem | undefined) => void
  /** The last problem of pushes; undefined once the server accepted one. */
  readonly writing: (problem: Problem | undefined) => void
}

/** Tells the app when the problem changes or ends. A problem of pushes goes first, because it is about the user's own events. Only a problem that ended a pull goes before it. */
export const makeProblems = (onProblem: ((problem: Problem | undefined) => void) | undefined): Problems => {
  let reading: Problem | undefined
  let writing: Problem | undefined
  let reported: Problem | undefined
  const tell = () => {
    const hasEnded = reading !== undefined && reading.retryAfterMs === undefined
    const now = hasEnded ? reading : (writing ?? reading)
    if (isSame(now, reported) && !saysMore(now, reported)) return
    reported = now
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

/**
 * Retries of one problem differ in their pauses, and a rebase renumbers an event. Requests for one store use several addresses
 * of one server. None of that makes another problem.
 */
const isSame = (a: Problem | undefined, b: Problem | undefined): boolean =>
  a?.kind === b?.kind && a?.status === b?.status && serverOf(a) === serverOf(b) && reasonOf(a) === reasonOf(b)

const serverOf = (problem: Problem | undefined): string | undefined => problem?.url?.match(/^\w+:\/\/[^/]*/)?.[0]

/** A refused ping has no body, so its detail is short. The app gets the detail that explains more. */
const saysMore = (now: Problem | undefined, reported: Problem | undefined): boolean =>
  now?.status !== undefined && wordsOf(now).length > wordsOf(reported).length

/** The detail without the address and without numbers. */
const wordsOf = (problem: Problem | undefined): string =>
  problem?.detail.replace(problem.url ?? '', '').replace(/\d+/g, '') ?? ''

const reasonOf = (problem: Problem | undefined): string | undefined =>
  problem?.kind === 'event-not-pushable' ? wordsOf(problem) : undefined
