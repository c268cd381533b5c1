/** The driver of a direct writer: it carries out the steps of direct-core.ts. */
import { ResponseError, serverAhead, TransportError, unknownError } from '../http/errors.ts'
import { sleep } from '../http/transport.ts'
import { START_OFFSET } from '../reading/page.ts'
import type { BackendId } from '../store/backend-id.ts'
import type { Chunk, Writer } from '../writing/writer.ts'
import {
  beginAppend,
  invalidate,
  newPush,
  newWriter,
  nextStep,
  observeTip,
  onReply,
  type Reply,
  type Request,
  type Tip,
} from './direct-core.ts'
import { type LogRange, randomUuid, type Upstream } from './upstream.ts'

export interface DirectWriter {
  readonly writerFor: (backendId: BackendId) => Writer
  /** A pull has read the log to its end. */
  readonly observeTip: (tip: Tip) => void
  /** A pull has lost its connection. */
  readonly invalidate: () => void
  /** A pull has found a break of the chain. The writer appends nothing before it has read the whole log. */
  readonly forgetTip: () => void
}

/** No push that succeeds needs so many steps. */
const MAX_STEPS = 32

/**
 * A server may enforce an append before it shows it (the Rust server does, for some milliseconds). The writer looks at the
 * log again after these pauses.
 */
const SETTLING_MS = [25, 50, 100, 200, 400]

/** The header may appear so much later than its stream. A stream without one was then created by another tool. */
const HEADER_PATIENCE_MS = 3_000

export const makeDirectWriter = (upstream: Upstream, pingTimeoutMs: number): DirectWriter => {
  let writer = newWriter
  let producer = randomUuid()
  const oneAtATime = makeQueue()

  const push = async (backendId: BackendId, chunk: Chunk, signal: AbortSignal): Promise<void> => {
    let push = newPush(chunk)
    const pauses = SETTLING_MS.values()
    for (let i = 0; i < MAX_STEPS; i++) {
      const step = nextStep(writer, push)
      if (step._tag === 'Accepted') return
      if (step._tag === 'ServerAhead') throw serverAhead(step.head + 1, chunk.events[0]?.seqNum ?? 0)
      if (step._tag === 'Gap')
        throw unknownError(`no event ${parentOf(chunk)} is in the log: it ends at event ${step.head}`)

      const before = writer
      const reply =
        step._tag === 'Append' ? await append(step, chunk, signal) : await perform(upstream, backendId, step, signal)
      // A device that knows a backend has its events. Nothing shows that anybody meant to delete them.
      if (reply._tag === 'Missing' && backendId.remembered() !== undefined)
        throw new TransportError('the upstream has no log for this store, but this device has events of one')
      const verdict = onReply(before, push, step, reply)
      writer = verdict.writer
      if (verdict._tag === 'Stop') throw unknownError(verdict.why)
      if (verdict._tag === 'Go') {
        push = verdict.push
        continue
      }
      const { value: pause } = pauses.next()
      if (pause === undefined) break
      await sleep(pause, signal)
    }
    throw new TransportError('the log keeps changing, and the outcome of this push is unknown')
  }

  const append = async (
    { tip, producerSeq }: Request & { _tag: 'Append' },
    chunk: Chunk,
    signal: AbortSignal,
  ): Promise<Reply> => {
    const before = writer
    if (producerSeq === 0) producer = randomUuid()
    // LiveStore may interrupt the push. The outcome stays unknown until an answer tells.
    writer = beginAppend(tip)
    try {
      return await upstream.append({ body: chunk.body, parent: parentOf(chunk), producer, producerSeq }, signal)
    } catch (cause) {
      if (isRefusal(cause)) writer = before
      throw cause
    }
  }

  return {
    writerFor: (backendId) => ({
      send: (chunk, signal) => oneAtATime(() => push(backendId, chunk, signal)),
      probe: (signal) => upstream.ping(pingTimeoutMs, signal),
    }),
    observeTip: (tip) => {
      writer = observeTip(writer, tip)
    },
    invalidate: () => {
      writer = invalidate(writer)
    },
    forgetTip: () => {
      writer = newWriter
    },
  }
}

/** Carries out a request that appends nothing. Learns the backend id that the answer tells. */
const perform = async (
  upstream: Upstream,
  backendId: BackendId,
  request: Exclude<Request, { _tag: 'Append' }>,
  signal: AbortSignal,
): Promise<Reply> => {
  switch (request._tag) {
    case 'Check': {
      const reply = await upstream.check(signal)
      if (reply._tag === 'Checked' && reply.backendId !== undefined) await backendId.observe(reply.backendId, signal)
      return reply
    }
    case 'Read': {
      if (request.from !== undefined) return readOn(upstream, request.from, signal)
      const reply = await readAll(upstream, signal)
      if (reply._tag === 'Read') await backendId.observe(upstream.idOf(reply.messages), signal)
      return reply
    }
    case 'Create': {
      const reply = await upstream.create(signal)
      if (reply._tag === 'Created') await backendId.observe(reply.backendId, signal)
      return reply
    }
  }
}

/**
 * Not every server shows a stream and its header at once (the Rust server does not), and an append that lands before the
 * header takes its place. Therefore the writer reads an empty stream again for a while before it believes it.
 */
const readAll = async (upstream: Upstream, signal: AbortSignal): Promise<LogRange> => {
  let reply = await upstream.read(START_OFFSET, signal)
  const giveUpAt = Date.now() + HEADER_PATIENCE_MS
  while (reply._tag === 'Read' && reply.messages.length === 0 && Date.now() < giveUpAt && !signal.aborted) {
    await sleep(100, signal)
    reply = await upstream.read(START_OFFSET, signal)
  }
  return reply
}

const readOn = async (upstream: Upstream, from: Tip, signal: AbortSignal): Promise<Reply> => {
  try {
    return await upstream.read(from.offset, signal)
  } catch (cause) {
    if (cause instanceof ResponseError && cause.status === 400) return { _tag: 'NoSuchOffset' }
    throw cause
  }
}

/** Runs the given work one after the other. */
const makeQueue = () => {
  let last: Promise<unknown> = Promise.resolve()
  return <A>(work: () => Promise<A>): Promise<A> => {
    const result = last.then(work)
    last = result.catch(() => {})
    return result
  }
}

/** The server refused and did nothing. After 408 and 5xx nobody knows the outcome. */
const isRefusal = (cause: unknown): boolean =>
  cause instanceof ResponseError && cause.status >= 400 && cause.status < 500 && cause.status !== 408

const parentOf = ({ events }: Chunk): number => events[0]?.parentSeqNum ?? 0
