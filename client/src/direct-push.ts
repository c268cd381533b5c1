/** Writing to the log itself: carries out what direct-core.ts decides. */
import { IsOfflineError, ServerAheadError, UnknownError } from '@livestore/common'
import { EventSequenceNumber } from '@livestore/common/schema'
import { Effect } from 'effect'

import type { BackendId } from './backend-id.ts'
import {
  appending,
  type Chunk,
  doubted,
  newPush,
  newWriter,
  nextStep,
  replied,
  type Reply,
  type Request,
  saw,
  type Tip,
} from './direct-core.ts'
import { type HttpFailure, toPushError, TransportError } from './errors.ts'
import { firstUnlinked } from './event.ts'
import { START_OFFSET } from './page.ts'
import type { PushError, SendChunk } from './push.ts'
import { randomUuid, type Upstream } from './upstream.ts'

export interface DirectWriter {
  readonly send: (backendId: BackendId) => SendChunk
  /** A pull has read the log to its end. */
  readonly saw: (tip: Tip) => void
  /** A pull has lost its connection. */
  readonly doubt: () => void
}

/** More steps than any push needs that gets anywhere. */
const MAX_STEPS = 32

/**
 * A server may refuse what follows an append before it shows that append (the Rust server does, for some milliseconds).
 * These are the pauses before the log is looked at again.
 */
const SETTLING_MS = [25, 50, 100, 200, 400]

/** How long a header may take after its stream. What has none by then was made by another tool. */
const HEADER_PATIENCE_MS = 3_000

export const makeDirectWriter = (upstream: Upstream): DirectWriter => {
  let writer = newWriter
  let producer = randomUuid()
  const oneAtATime = Effect.unsafeMakeSemaphore(1)

  const push = (backendId: BackendId, chunk: Chunk): Effect.Effect<void, PushError> =>
    Effect.gen(function* () {
      yield* checkChain(chunk)
      let push = newPush(chunk)
      const pauses = SETTLING_MS.values()
      for (let i = 0; i < MAX_STEPS; i++) {
        const step = nextStep(writer, push)
        if (step._tag === 'Accepted') return
        if (step._tag === 'ServerAhead') return yield* serverAhead(step.head, chunk)
        if (step._tag === 'Gap') return yield* unknownError(`no event ${parentOf(chunk)} is in the log: it ends at ${step.head}`)

        const before = writer
        const reply = yield* Effect.mapError(perform(backendId, step, chunk), (error) =>
          error._tag === 'TransportError' || error._tag === 'ResponseError' ? toPushError(error) : error,
        )
        const verdict = replied(before, push, step, reply)
        writer = verdict.writer
        if (verdict._tag === 'Stop') return yield* unknownError(verdict.why)
        if (verdict._tag === 'Go') {
          push = verdict.push
          continue
        }
        const { value: pause } = pauses.next()
        if (pause === undefined) break
        yield* Effect.sleep(pause)
      }
      return yield* new IsOfflineError({ cause: new TransportError('the log does not settle') })
    })

  const perform = (backendId: BackendId, step: Request, chunk: Chunk) =>
    Effect.gen(function* () {
      switch (step._tag) {
        case 'Check':
          return yield* check(backendId)
        case 'Read':
          return yield* step.from === undefined ? readAll(backendId) : readOn(step.from)
        case 'Create':
          return yield* create(backendId)
        case 'Append':
          return yield* append(step, chunk)
      }
    })

  const check = (backendId: BackendId) =>
    Effect.gen(function* () {
      const reply = yield* upstream.check
      if (reply._tag === 'Checked' && reply.backendId !== undefined) yield* backendId.observe(reply.backendId)
      return reply satisfies Reply
    })

  /**
   * Not every server shows a stream and its header at once (the Rust server does not), and whatever lands before the
   * header takes its place. So one that is empty is looked at again for a while before it is believed.
   */
  const readAll = (backendId: BackendId) =>
    Effect.gen(function* () {
      let reply = yield* upstream.read(START_OFFSET)
      const giveUpAt = Date.now() + HEADER_PATIENCE_MS
      while (reply._tag === 'Read' && reply.messages.length === 0 && Date.now() < giveUpAt) {
        yield* Effect.sleep(100)
        reply = yield* upstream.read(START_OFFSET)
      }
      if (reply._tag === 'Read') yield* backendId.observe(upstream.idOf(reply.messages))
      return reply satisfies Reply
    })

  const readOn = (from: Tip): Effect.Effect<Reply, HttpFailure> =>
    Effect.catchIf(
      upstream.read(from.offset),
      (failure) => failure._tag === 'ResponseError' && failure.status === 400,
      () => Effect.succeed({ _tag: 'NoSuchOffset' as const }),
    )

  const create = (backendId: BackendId) =>
    Effect.tap(upstream.create, (reply) => (reply._tag === 'Created' ? backendId.observe(reply.backendId) : Effect.void))

  const append = ({ tip, streak }: Request & { _tag: 'Append' }, chunk: Chunk): Effect.Effect<Reply, HttpFailure> =>
    Effect.suspend(() => {
      const before = writer
      if (streak === 0) producer = randomUuid()
      // Until there is an answer that tells: whoever waits for it may be interrupted as well.
      writer = appending(tip)
      return upstream.append({ body: chunk.body, parent: parentOf(chunk), producer, streak }).pipe(
        Effect.tapError((failure) =>
          Effect.sync(() => {
            if (isRefusal(failure)) writer = before
          }),
        ),
      )
    })

  return {
    send: (backendId) => (chunk) => oneAtATime.withPermits(1)(push(backendId, chunk)),
    saw: (tip) => {
      writer = saw(writer, tip)
    },
    doubt: () => {
      writer = doubted(writer)
    },
  }
}

/** The server has said no, and did nothing. Of 408 and 5xx nobody knows. */
const isRefusal = (failure: HttpFailure): boolean =>
  failure._tag === 'ResponseError' && failure.status >= 400 && failure.status < 500 && failure.status !== 408

/** What the Worker would answer with 422. */
const checkChain = ({ events }: Chunk): Effect.Effect<void, UnknownError> => {
  const index = firstUnlinked(events)
  return index === undefined
    ? Effect.void
    : unknownError(`event ${index} of the batch (seqNum ${events[index]?.seqNum}) does not follow the one before it`)
}

const parentOf = ({ events }: Chunk): number => events[0]?.parentSeqNum ?? 0

const serverAhead = (head: number, { events }: Chunk): Effect.Effect<never, ServerAheadError> =>
  Effect.fail(
    new ServerAheadError({
      minimumExpectedNum: EventSequenceNumber.Global.make(head + 1),
      providedNum: EventSequenceNumber.Global.make(events[0]?.seqNum ?? 0),
    }),
  )

const unknownError = (note: string): Effect.Effect<never, UnknownError> =>
  Effect.fail(new UnknownError({ cause: new Error(note), note }))
