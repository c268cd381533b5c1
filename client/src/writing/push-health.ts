/**
 * Whether the server answers pushes. While it does not, the store is not connected, and LiveStore may start no push.
 * Therefore the provider probes the server itself, and so finds out when it answers again.
 */
import { backoffDelay } from '../http/backoff.ts'
import type { HttpFailure } from '../http/errors.ts'
import { sleep } from '../http/transport.ts'
import type { Connection } from '../store/connection.ts'
import { type Problem, type Problems, problemOf } from '../store/problem.ts'
import type { Writer } from './writer.ts'

export interface PushHealthDeps {
  readonly backoffLimits: { readonly initialDelayMs: number; readonly maxDelayMs: number }
  readonly writer: Writer
  readonly connection: Connection
  readonly problems: Problems
  /** The server has answered a push. */
  readonly onAnswered: () => void
  /** Aborted when the backend is closed. */
  readonly closed: AbortSignal
}

export interface PushHealth {
  /** A push begins, whose first event this is. */
  readonly begin: (firstSeqNum: number) => void
  /** The server has answered a push, and this problem is left of it. */
  readonly answered: (problem: Problem | undefined) => void
  /** The same, but the server need not have answered. */
  readonly settle: (problem: Problem | undefined) => void
  /** A push got no answer of the server. */
  readonly unanswered: (failure: HttpFailure) => void
  /** Somebody else has answered the chunk that begins with this event. */
  readonly block: (firstSeqNum: number | undefined) => void
  /** Whether somebody else has answered that chunk before, although the server has answered a probe since. */
  readonly isBlocked: (firstSeqNum: number | undefined) => boolean
  /** A pull has brought the events up to `seqNum`. */
  readonly pulled: (seqNum: number) => void
}

/** A push without an answer waits for LiveStore to repeat it. The provider meanwhile probes the server, first after this pause. */
const FIRST_PROBE_MS = 500

export const makePushHealth = ({ writer, connection, problems, closed, ...deps }: PushHealthDeps): PushHealth => {
  /** The last push got no answer, and nothing has shown since that the server answers pushes. */
  let isUnanswered = false
  let isProbing = false
  /** The last push got no answer, and LiveStore has not repeated it. */
  let isPending = false
  /** The first event of the last push. */
  let firstSeqNum = 0
  /** The last push only lost its connection. */
  let isLost = false
  /** The first event of a chunk that somebody else answered, and whether the server has answered a probe since. */
  let blockedAt: number | undefined
  let isBlockProbed = false

  const settle = (problem: Problem | undefined) => {
    isUnanswered = isPending = false
    connection.writing(true)
    problems.writing(problem)
  }

  const answered = (problem: Problem | undefined) => {
    settle(problem)
    deps.onAnswered()
  }

  const probe = async () => {
    if (isProbing) return
    isProbing = true
    for (let failures = 1; ; failures++) {
      await sleep(Math.max(FIRST_PROBE_MS, backoffDelay(failures, deps.backoffLimits)), closed)
      if (!isUnanswered || closed.aborted) break
      await writer.probe(closed).then(onProbed, () => {})
    }
    isProbing = false
  }

  /** LiveStore may push again. The problem stays until a push is accepted, except for a lost connection. */
  const onProbed = () => {
    if (isLost) return answered(undefined)
    isUnanswered = false
    isBlockProbed = true
    connection.writing(true)
    deps.onAnswered()
  }

  return {
    begin: (seqNum) => {
      firstSeqNum = seqNum
    },
    answered,
    settle,
    unanswered: (failure) => {
      // Reads report a lost connection. While they succeed, they may bring the very events whose acknowledgement was lost.
      if (failure._tag !== 'TransportError') connection.writing(false)
      problems.writing(problemOf(failure, FIRST_PROBE_MS))
      isUnanswered = isPending = true
      isLost = failure._tag === 'TransportError'
      void probe()
    },
    block: (seqNum) => {
      if (blockedAt !== seqNum) isBlockProbed = false
      blockedAt = seqNum
    },
    isBlocked: (seqNum) => blockedAt === seqNum && isBlockProbed,
    // Once a pull has passed the first event of an unanswered push, that push is over either way.
    pulled: (seqNum) => {
      if (isPending && seqNum >= firstSeqNum) settle(undefined)
    },
  }
}
