import { type BackendIdMismatchError, type IsOfflineError, type ServerAheadError, UnknownError } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'
import { Effect, Either } from 'effect'

import { BACKEND_ID_HEADER, type BackendId, noStore } from './backend-id.ts'
import { toPushError } from './errors.ts'
import { encodeEvent } from './event.ts'
import type { Transport } from './transport.ts'

export type PushError = IsOfflineError | BackendIdMismatchError | UnknownError | ServerAheadError

export interface PushLimits {
  readonly maxBatchEvents: number
  readonly maxBatchBytes: number
}

export interface PushDeps {
  readonly url: string
  readonly transport: Transport
  readonly backendId: BackendId
  readonly limits: PushLimits
  readonly timeoutMs: number
  readonly onServerAhead: (error: ServerAheadError) => Effect.Effect<void>
}

/**
 * No retry in here: LiveStore repeats a push for ever, with its own back-off (LeaderSyncProcessor.ts,
 * `backgroundBackendPushing`), and the Sequencer accepts a repeated batch again.
 */
export const makePush =
  (deps: PushDeps) =>
  (batch: ReadonlyArray<LiveStoreEvent.Global.Encoded>): Effect.Effect<void, PushError> =>
    Effect.gen(function* () {
      const bodies = yield* Either.mapLeft(chunkBatch(batch, deps.limits), oversizeError)
      // In order and one at a time, because each chunk's parent is the end of the chunk before it.
      for (const body of bodies) yield* pushChunk(deps, body)
    })

const pushChunk = (deps: PushDeps, body: string) => {
  const knew = deps.backendId.remembered() !== undefined
  return send(deps, body).pipe(
    // Who remembers no backend can't be told that it was reset, and a Sequencer may not have heard of it yet. It looks
    // when asked; else LiveStore would wait for events that are gone.
    Effect.catchTag('ServerAheadError', (ahead) =>
      knew ? Effect.fail(ahead) : Effect.zipRight(lookAfresh(deps), send(deps, body)),
    ),
    Effect.tapErrorTag('ServerAheadError', deps.onServerAhead),
  )
}

const lookAfresh = ({ url, transport, timeoutMs }: PushDeps) =>
  transport.request(url, { method: 'HEAD', ...noStore() }, timeoutMs).pipe(Effect.mapError(toPushError))

const send = ({ url, transport, backendId, timeoutMs }: PushDeps, body: string) =>
  Effect.gen(function* () {
    const known = backendId.remembered()
    const headers = {
      'content-type': 'application/json',
      ...(known === undefined ? {} : { [BACKEND_ID_HEADER]: known }),
    }
    const answer = yield* transport
      .request(url, { method: 'POST', headers, body }, timeoutMs)
      .pipe(Effect.mapError(toPushError))
    // The first contact with a backend may well be a push.
    const answering = answer.headers.get(BACKEND_ID_HEADER)
    if (known === undefined && backendId.remembered() === undefined && answering !== null) {
      yield* backendId.learn(answering)
    }
  })

export interface Oversize {
  readonly seqNum: number
  readonly bytes: number
  readonly maxBatchBytes: number
}

/** Request bodies within both limits, their sizes counted as they go over the wire. */
export const chunkBatch = (
  batch: ReadonlyArray<LiveStoreEvent.Global.Encoded>,
  { maxBatchEvents, maxBatchBytes }: PushLimits,
): Either.Either<ReadonlyArray<string>, Oversize> => {
  const brackets = 2
  const bodies: Array<string> = []
  let chunk: Array<string> = []
  let bytes = brackets

  const flush = () => {
    if (chunk.length > 0) bodies.push(`[${chunk.join(',')}]`)
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
  return Either.right(bodies)
}

const utf8 = new TextEncoder()

const oversizeError = (oversize: Oversize): UnknownError => {
  const note = `event ${oversize.seqNum} takes ${oversize.bytes} bytes, more than the ${oversize.maxBatchBytes} that one push may`
  return new UnknownError({ cause: new Error(note), note, payload: oversize })
}
