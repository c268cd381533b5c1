/** Pushing, in every mode: the pusher cuts a batch into chunks, sends one after the other, and takes note of what becomes of each. */
import { BackendIdMismatchError, ServerAheadError, UnknownError } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'

import { backoffDelay } from '../http/backoff.ts'
import type { Connection } from '../store/connection.ts'
import { ForeignAnswer, type HttpFailure, isHttpFailure, isTransient, ResponseError, type SyncError, toPushError, unknownError } from '../http/errors.ts'
import { firstUnlinked } from '../protocol/index.js'
import { type Problem, type Problems, problemOf } from '../store/problem.ts'
import { sleep } from '../http/transport.ts'
import { chunkBatch, chunkOf, type PushLimits } from './chunks.ts'
import type { Chunk, Writer } from './writer.ts'

type Event = LiveStoreEvent.Global.Encoded

export interface PushDeps {
  readonly limits: PushLimits
  readonly backoffLimits: { readonly initialDelayMs: number; readonly maxDelayMs: number }
  readonly writer: Writer
  readonly connection: Connection
  readonly problems: Problems
  /** The server has events that this device lacks, up to this one. */
  readonly onServerAhead: (head: number) => void
  /** The server has answered a push. */
  readonly onAnswered: () => void
  /** Aborted when the backend is closed. */
  readonly closed: AbortSignal
}

/**
 * Pushes a batch; rejects with what LiveStore is to be told. No retry in here: LiveStore repeats a push for ever, with its
 * own back-off (LeaderSyncProcessor.ts, `backgroundBackendPushing`), and a batch that is in the log already is accepted
 * again.
 */
export type Push = (batch: ReadonlyArray<Event>, signal: AbortSignal) => Promise<void>

export interface Pusher {
  readonly push: Push
  /** The log was pulled up to this event. */
  readonly pulled: (seqNum: number) => void
}

/** LiveStore repeats a push that was refused, too. */
const LIVESTORES_LONGEST_PAUSE_MS = 30_000

/** Pushes that came to nothing wait for LiveStore; whether they would get an answer is asked in between, first after so long. */
const FIRST_PROBE_MS = 500

export const makePusher = (deps: PushDeps): Pusher => {
  const { limits, writer, connection, problems } = deps
  /** The last push came to nothing, and nothing has shown yet that another one would not. */
  let isUnanswered = false
  let isProbing = false
  /** The last push came to nothing, and LiveStore has not made it again; its first event; and whether only the connection was lost. */
  let isPending = false
  let firstSeqNum = 0
  let isLost = false
  /** Where a chunk begins that somebody else answered; and whether pushes were answered since. */
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
      if (!signal.aborted) throw told(cause)
      // LiveStore does so when a pull has brought events, these perhaps: nothing is known to stand in the way any more.
      settle(undefined)
      throw cause
    }
    if (obstacle !== undefined) {
      settle({ kind: 'event-not-pushable', detail: obstacle.why, seqNum: obstacle.seqNum })
      throw unknownError(obstacle.why, obstacle)
    }
    if (chunks.length > 0) answered(undefined)
  }

  /** A server may refuse a chunk for one event, or for its size. Everything before that event goes in. */
  const sendWhole = async (chunk: Chunk, signal: AbortSignal, isPart = false): Promise<void> => {
    try {
      return await writer.send(chunk, signal)
    } catch (cause) {
      const { events } = chunk
      // A proxy's limit of sizes, or a firewall that looks into bodies, is somebody else's, but smaller chunks may pass it.
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
        throw new Refused(toPushError(cause), { ...problemOf(cause, undefined), kind: 'event-not-pushable', seqNum: bad.seqNum })
      }
      await sendHalves(events, signal)
    }
  }

  const sendHalves = async (events: ReadonlyArray<Event>, signal: AbortSignal): Promise<void> => {
    const half = Math.ceil(events.length / 2)
    await sendWhole(chunkOf(events.slice(0, half)), signal, true)
    await sendWhole(chunkOf(events.slice(half)), signal, true)
  }

  /** Takes note of why a push failed; what comes back is for LiveStore. */
  const told = (cause: unknown): unknown => {
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

  /** A pull has brought events: once the log has reached a push that came to nothing, that one is over either way. */
  const pulled = (seqNum: number) => {
    if (isPending && seqNum >= firstSeqNum) settle(undefined)
  }

  const settle = (problem: Problem | undefined) => {
    isUnanswered = isPending = false
    connection.writing(true)
    problems.writing(problem)
  }

  const unanswered = (failure: HttpFailure) => {
    // A lost connection is the reads' to tell. While they are served, what they bring may be what a lost acknowledgement was for.
    if (failure._tag !== 'TransportError') connection.writing(false)
    problems.writing(problemOf(failure, FIRST_PROBE_MS))
    isUnanswered = isPending = true
    isLost = failure._tag === 'TransportError'
    void probe()
  }

  /** While `isConnected` is false LiveStore may start no push that could show that pushes are answered again. */
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

  /** LiveStore may go on. Only a push that is accepted shows that what stood in its way is gone, but for a lost connection. */
  const onProbed = () => {
    if (isLost) return answered(undefined)
    isUnanswered = false
    isBlockProbed = true
    connection.writing(true)
    deps.onAnswered()
  }

  return { push, pulled }
}

/** A batch that is no chain is the caller's mistake: none of it is sent. */
const checkChain = (events: ReadonlyArray<Event>): void => {
  const index = firstUnlinked(events)
  if (index === undefined) return
  throw unknownError(`event ${index} of the batch (seqNum ${events[index]?.seqNum}) does not follow the one before it`)
}

/** The words of a refusal for LiveStore and for the app. */
const refusalOf = (cause: unknown): { readonly error: unknown; readonly problem: Problem | undefined } => {
  const error = isHttpFailure(cause) ? toPushError(cause) : cause
  if (isServerAhead(error)) return { error, problem: undefined }
  if (error instanceof BackendIdMismatchError) {
    const { expected, received } = error
    return { error, problem: { kind: 'backend-mismatch', detail: `the store was reset: this device knows ${received}, and the server ${expected}` } }
  }
  if (isHttpFailure(cause)) return { error, problem: problemOf(cause, LIVESTORES_LONGEST_PAUSE_MS) }
  return { error, problem: { kind: 'log-broken', detail: error instanceof UnknownError ? (error.note ?? String(error)) : String(error) } }
}

const isServerAhead = (error: unknown): error is ServerAheadError => error instanceof ServerAheadError

/** A refusal that names an event, and what the app is told of it. */
class Refused extends Error {
  readonly error: SyncError
  readonly problem: Problem
  constructor(error: SyncError, problem: Problem) {
    super(problem.detail)
    this.error = error
    this.problem = problem
  }
}
