/** What every way of writing shares: a batch is cut into chunks, which go one after the other. */
import { type BackendIdMismatchError, type IsOfflineError, type ServerAheadError, UnknownError } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'
import { Effect, Either } from 'effect'

import type { Chunk } from './direct-core.ts'
import { encodeEvent } from './event.ts'

export type PushError = IsOfflineError | BackendIdMismatchError | UnknownError | ServerAheadError

export interface PushLimits {
  readonly maxBatchEvents: number
  readonly maxBatchBytes: number
}

export type SendChunk = (chunk: Chunk) => Effect.Effect<void, PushError>

export interface PushDeps {
  readonly limits: PushLimits
  readonly send: SendChunk
  readonly onServerAhead: (error: ServerAheadError) => Effect.Effect<void>
}

/**
 * No retry in here: LiveStore repeats a push for ever, with its own back-off (LeaderSyncProcessor.ts,
 * `backgroundBackendPushing`), and a batch that is in the log already is accepted again.
 */
export const makePush =
  ({ limits, send, onServerAhead }: PushDeps) =>
  (batch: ReadonlyArray<LiveStoreEvent.Global.Encoded>): Effect.Effect<void, PushError> =>
    Effect.gen(function* () {
      const chunks = yield* Either.mapLeft(chunkBatch(batch, limits), oversizeError)
      // In order and one at a time, because each chunk's parent is the end of the chunk before it.
      for (const chunk of chunks) yield* Effect.tapErrorTag(send(chunk), 'ServerAheadError', onServerAhead)
    })

export interface Oversize {
  readonly seqNum: number
  readonly bytes: number
  readonly maxBatchBytes: number
}

/** Chunks within both limits, their sizes counted as they go over the wire. */
export const chunkBatch = (
  batch: ReadonlyArray<LiveStoreEvent.Global.Encoded>,
  { maxBatchEvents, maxBatchBytes }: PushLimits,
): Either.Either<ReadonlyArray<Chunk>, Oversize> => {
  const brackets = 2
  const chunks: Array<Chunk> = []
  let chunk: Array<string> = []
  let bytes = brackets

  let sent = 0

  const flush = () => {
    if (chunk.length > 0) chunks.push({ body: `[${chunk.join(',')}]`, events: batch.slice(sent, sent + chunk.length) })
    sent += chunk.length
    chunk = []
    bytes = brackets
  }
  for (const event of batch) {
    const { seqNum } = event
    const json = encodeEvent(event)
    const size = utf8.encode(json).byteLength
    if (size + brackets > maxBatchBytes) {
      return Either.left({ seqNum, bytes: size + brackets, maxBatchBytes })
    }
    const comma = chunk.length > 0 ? 1 : 0
    if (chunk.length >= Math.max(1, maxBatchEvents) || bytes + comma + size > maxBatchBytes) flush()
    bytes += size + (chunk.length > 0 ? 1 : 0)
    chunk.push(json)
  }
  flush()
  return Either.right(chunks)
}

const utf8 = new TextEncoder()

const oversizeError = (oversize: Oversize): UnknownError => {
  const note = `event ${oversize.seqNum} takes ${oversize.bytes} bytes, more than the ${oversize.maxBatchBytes} that one push may`
  return new UnknownError({ cause: new Error(note), note, payload: oversize })
}
