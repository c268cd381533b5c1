/** The pusher of every mode. It cuts a batch into chunks, sends one after the other, and reports the outcome of each. */
import { BackendIdMismatchError, ServerAheadError, UnknownError } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'

import { backoffDelay } from '../http/backoff.ts'
import {
  ForeignAnswer,
  type HttpFailure,
  isHttpFailure,
  isTransient,
  ResponseError,
  type SyncError,
  toPushError,
  unknownError,
} from '../http/errors.ts'
import { sleep } from '../http/transport.ts'
import { firstUnlinked } from '../protocol/index.js'
import type { Connection } from '../store/connection.ts'
import { type Problem, type Problems, problemOf } from '../store/problem.ts'
import { chunkBatch, chunkOf, type PushLimits } from './chunks.ts'
import type { Chunk, Writer } from './writer.ts'

type Event = LiveStoreEvent.Global.Encoded

export interface PushDeps {
  readonly limits: PushLimits
  readonly backoffLimits: { readonly initialDelayMs: number; readonly maxDelayMs: number }
  readonly writer: Writer
  readonly connection: Connection
  readonly problems: Problems
  /** The server has events that this device lacks, up to `head`. */
  readonly onServerAhead: (head: number) => void
  /** The server has answered a push. */
  readonly onAnswered: () => void
  /** Aborted when the backend is closed. */
  readonly closed: AbortSignal
}

/**
 * Pushes a batch. Rejects with the error for LiveStore. A push never retries: LiveStore repeats it for ever, with its own
 * backoff (LeaderSyncProcessor.ts, `backgroundBackendPushing`). The server accepts a batch again that is already in the log.
 */
export type Push = (batch: ReadonlyArray<Event>, signal: AbortSignal) => Promise<void>

export interface Pusher {
  readonly push: Push
  /** A pull has brought the events up to `seqNum`. */
  readonly pulled: (seqNum: number) => void
}

/** LiveStore repeats a refused push as well, after at most this pause. */
const LIVESTORES_LONGEST_PAUSE_MS = 30_000

/** A push without an answer waits for LiveStore to repeat it. The provider meanwhile probes the server, first after this pause. */
const FIRST_PROBE_MS = 500

export const makePusher = (deps: PushDeps): Pusher => {
  const { limits, writer, connection, problems } = deps
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

  const push: Push = async (batch, signal) => {
    checkChain(batch)
    const { chunks, obstacle } = chunkBatch(batch, limits)
    firstSeqNum = batch[0]?.seqNum ?? 0
    try {
      // In order and one at a time, because each chunk's parent is the end of the chunk before it.
      for (const chunk of chunks) await sendWhole(chunk, signal)
    } catch (cause) {
      if (!signal.aborted) throw report(cause)
      // LiveStore interrupts a push when a pull has brought events, perhaps these. Nothing is known to block pushes any more.
      settle(undefined)
      throw cause
    }
    if (obstacle !== undefined) {
      settle({ kind: 'event-not-pushable', detail: obstacle.why, seqNum: obstacle.seqNum })
      throw unknownError(obstacle.why, obstacle)
    }
    if (chunks.length > 0) answered(undefined)
  }

  /** A server may refuse a chunk for one event, or for its size. The pusher still sends everything before that event. */
  const sendWhole = async (chunk: Chunk, signal: AbortSignal, isPart = false): Promise<void> => {
    try {
      return await writer.send(chunk, signal)
    } catch (cause) {
      const { events } = chunk
      // The answer may come from a proxy that limits sizes, or from a firewall that inspects bodies. Smaller chunks may pass.
      if (cause instanceof ForeignAnswer) {
        const first = events[0]?.seqNum
        const isStubborn = isPart || (blockedAt === first && isBlockProbed)
        if (isStubborn && events.length > 1) return sendHalves(events, signal)
        if (blockedAt !== first) isBlockProbed = false
        blockedAt = first
      }
      if (!(cause instanceof ResponseError) || (cause.status !== 413 && cause.status !== 422)) throw cause
      const { index } = cause.problem
      const bad = typeof index === 'number' ? events[index] : events.length === 1 ? events[0] : undefined
      if (bad !== undefined) {
        const before = events.slice(0, events.indexOf(bad))
        if (before.length > 0) await sendWhole(chunkOf(before), signal)
        throw new Refused(toPushError(cause), {
          ...problemOf(cause, undefined),
          kind: 'event-not-pushable',
          seqNum: bad.seqNum,
        })
      }
      await sendHalves(events, signal)
    }
  }

  const sendHalves = async (events: ReadonlyArray<Event>, signal: AbortSignal): Promise<void> => {
    const half = Math.ceil(events.length / 2)
    await sendWhole(chunkOf(events.slice(0, half)), signal, true)
    await sendWhole(chunkOf(events.slice(half)), signal, true)
  }

  /** Reports why a push failed. Returns the error for LiveStore. */
  const report = (cause: unknown): unknown => {
    if (isHttpFailure(cause) && isTransient(cause)) {
      unanswered(cause)
      return toPushError(cause)
    }
    const { error, problem } = cause instanceof Refused ? cause : refusalOf(cause)
    answered(problem)
    if (isServerAhead(error)) deps.onServerAhead(error.minimumExpectedNum - 1)
    return error
  }

  const answered = (problem: Problem | undefined) => {
    settle(problem)
    deps.onAnswered()
  }

  /** Once a pull has passed the first event of an unanswered push, that push is over either way. */
  const pulled = (seqNum: number) => {
    if (isPending && seqNum >= firstSeqNum) settle(undefined)
  }

  const settle = (problem: Problem | undefined) => {
    isUnanswered = isPending = false
    connection.writing(true)
    problems.writing(problem)
  }

  const unanswered = (failure: HttpFailure) => {
    // Reads report a lost connection. While they succeed, they may bring the very events whose acknowledgement was lost.
    if (failure._tag !== 'TransportError') connection.writing(false)
    problems.writing(problemOf(failure, FIRST_PROBE_MS))
    isUnanswered = isPending = true
    isLost = failure._tag === 'TransportError'
    void probe()
  }

  /** While `isConnected` is false, LiveStore may start no push. Only a probe then shows that the server answers again. */
  const probe = async () => {
    if (isProbing) return
    isProbing = true
    for (let failures = 1; ; failures++) {
      await sleep(Math.max(FIRST_PROBE_MS, backoffDelay(failures, deps.backoffLimits)), deps.closed)
      if (!isUnanswered || deps.closed.aborted) break
      await writer.probe(deps.closed).then(onProbed, () => {})
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

  return { push, pulled }
}

/** A batch that is no chain is the caller's mistake. The pusher sends none of it. */
const checkChain = (events: ReadonlyArray<Event>): void => {
  const index = firstUnlinked(events)
  if (index === undefined) return
  throw unknownError(`event ${index} of the batch (seqNum ${events[index]?.seqNum}) does not follow the one before it`)
}

/** The refusal as LiveStore and the app receive it. */
const refusalOf = (cause: unknown): { readonly error: unknown; readonly problem: Problem | undefined } => {
  const error = isHttpFailure(cause) ? toPushError(cause) : cause
  if (isServerAhead(error)) return { error, problem: undefined }
  if (error instanceof BackendIdMismatchError) {
    const { expected, received } = error
    return {
      error,
      problem: {
        kind: 'backend-mismatch',
        detail: `the store was reset: this device knows ${received}, and the server ${expected}`,
      },
    }
  }
  if (isHttpFailure(cause)) return { error, problem: problemOf(cause, LIVESTORES_LONGEST_PAUSE_MS) }
  return {
    error,
    problem: {
      kind: 'log-broken',
      detail: error instanceof UnknownError ? (error.note ?? String(error)) : String(error),
    },
  }
}

const isServerAhead = (error: unknown): error is ServerAheadError => error instanceof ServerAheadError

/** A refusal of one event, with the problem for the app. */
class Refused extends Error {
  readonly error: SyncError
  readonly problem: Problem
  constructor(error: SyncError, problem: Problem) {
    super(problem.detail)
    this.error = error
    this.problem = problem
  }
}
