/** The pusher of every mode. It cuts a batch into chunks, sends one after the other, and reports the outcome of each. */
import { BackendIdMismatchError, ServerAheadError, UnknownError } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'

import {
  ForeignAnswer,
  isHttpFailure,
  isTransient,
  ResponseError,
  type SyncError,
  toPushError,
  unknownError,
} from '../http/errors.ts'
import { firstUnlinked } from '../protocol/index.js'
import { isClosedProblem, type Problem, problemOf } from '../store/problem.ts'
import { chunkBatch, chunkOf, type PushLimits } from './chunks.ts'
import { makePushHealth, type PushHealth, type PushHealthDeps } from './push-health.ts'
import type { Chunk, Writer } from './writer.ts'

type Event = LiveStoreEvent.Global.Encoded

export interface PushDeps extends PushHealthDeps {
  readonly limits: PushLimits
  /** The server has events that this device lacks, up to `head`. */
  readonly onServerAhead: (head: number) => void
}

/**
 * Pushes a batch. Rejects with the error for LiveStore. A push never retries: LiveStore repeats it forever, with its own
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

export const makePusher = (deps: PushDeps): Pusher => {
  const health = makePushHealth(deps)
  const send = makeSender(deps.writer, health)

  const push: Push = async (batch, signal) => {
    checkChain(batch)
    const { chunks, obstacle } = chunkBatch(batch, deps.limits)
    health.begin(batch[0]?.seqNum ?? 0)
    try {
      // In order and one at a time, because each chunk's parent is the end of the chunk before it.
      for (const chunk of chunks) await send(chunk, signal)
    } catch (cause) {
      if (!signal.aborted) throw report(cause)
      // LiveStore interrupts a push when a pull has brought events, perhaps these. Nothing is known to block pushes any more.
      health.settle(undefined)
      throw cause
    }
    if (obstacle !== undefined) {
      health.settle({ kind: 'event-not-pushable', detail: obstacle.why, seqNum: obstacle.seqNum })
      throw unknownError(obstacle.why, obstacle)
    }
    if (chunks.length > 0) health.answered(undefined)
  }

  /** Reports why a push failed. Returns the error for LiveStore. */
  const report = (cause: unknown): unknown => {
    if (isHttpFailure(cause) && isTransient(cause)) {
      health.unanswered(cause)
      return toPushError(cause)
    }
    const { error, problem } = cause instanceof Refused ? cause : refusalOf(cause)
    health.answered(problem)
    if (isServerAhead(error)) deps.onServerAhead(error.minimumExpectedNum - 1)
    return error
  }

  return { push, pulled: health.pulled }
}

/** A server may refuse a chunk for one event, or for its size. The sender still sends everything before that event. */
const makeSender = (writer: Writer, health: PushHealth) => {
  const send = async (chunk: Chunk, signal: AbortSignal, isPart = false): Promise<void> => {
    try {
      return await writer.send(chunk, signal)
    } catch (cause) {
      const { events } = chunk
      // The answer may come from a proxy that limits sizes, or from a firewall that inspects bodies. Smaller chunks may pass.
      if (cause instanceof ForeignAnswer) {
        const first = events[0]?.seqNum
        if (events.length > 1 && (isPart || health.isBlocked(first))) return sendHalves(events, signal)
        health.block(first)
      }
      if (!(cause instanceof ResponseError) || (cause.status !== 413 && cause.status !== 422)) throw cause
      const bad = refusedEvent(events, cause)
      if (bad === undefined) return sendHalves(events, signal)
      const before = events.slice(0, events.indexOf(bad))
      if (before.length > 0) await send(chunkOf(before), signal)
      throw new Refused(toPushError(cause), {
        ...problemOf(cause, undefined),
        kind: 'event-not-pushable',
        seqNum: bad.seqNum,
      })
    }
  }

  const sendHalves = async (events: ReadonlyArray<Event>, signal: AbortSignal): Promise<void> => {
    const half = Math.ceil(events.length / 2)
    await send(chunkOf(events.slice(0, half)), signal, true)
    await send(chunkOf(events.slice(half)), signal, true)
  }

  return send
}

/** The event that the server names in its refusal, or the only one. */
const refusedEvent = (events: ReadonlyArray<Event>, { problem }: ResponseError): Event | undefined => {
  const { index } = problem
  if (typeof index === 'number') return events[index]
  return events.length === 1 ? events[0] : undefined
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
        detail: `the store was reset: this device knows the backend id ${received}, but the server has ${expected}`,
      },
    }
  }
  if (isHttpFailure(cause)) {
    const isFinal = cause instanceof ResponseError && isClosedProblem(cause.problem)
    return { error, problem: problemOf(cause, isFinal ? undefined : LIVESTORES_LONGEST_PAUSE_MS) }
  }
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
