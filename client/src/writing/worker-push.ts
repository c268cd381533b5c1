/** Pushes through the Worker, whose Sequencer accepts a repeated batch again. */
import { vouchedHead } from '../http/authenticity.ts'
import { ForeignAnswer, isTransient, ResponseError, serverAhead, TransportError } from '../http/errors.ts'
import type { Answer, Transport } from '../http/transport.ts'
import { ACCEPTED_HEADER, BACKEND_ID_HEADER, JSON_TYPE } from '../protocol/index.js'
import type { StoreSocket } from '../socket/store-socket.ts'
import type { BackendId } from '../store/backend-id.ts'
import { decodeEvent, sameEvent } from '../store/event.ts'
import type { Chunk, Writer } from './writer.ts'

export interface WorkerPushDeps {
  readonly url: string
  readonly transport: Transport
  readonly backendId: BackendId
  readonly askBackendId: (signal?: AbortSignal) => Promise<string | undefined>
  readonly timeoutMs: number
  /** Carries a push if it is open. */
  readonly socket: StoreSocket | undefined
}

export const makeWorkerPush = (deps: WorkerPushDeps): Writer => {
  const { url, transport, backendId, askBackendId, timeoutMs, socket } = deps

  const send = async (chunk: Chunk, signal: AbortSignal): Promise<void> => {
    const known = backendId.remembered()
    const answering =
      socket?.canPush(chunk.body.length) === true
        ? await sendBySocket(socket, chunk, known, signal)
        : await sendByHttp(chunk, known, signal)
    // The first contact with a backend may be a push.
    if (backendId.remembered() === undefined) await backendId.observe(answering, signal)
  }

  const sendBySocket = async (
    socket: StoreSocket,
    chunk: Chunk,
    known: string | undefined,
    signal: AbortSignal,
  ): Promise<string> => {
    const { body, events } = chunk
    const first = events[0]?.seqNum ?? 0
    const last = events.at(-1)?.seqNum ?? 0
    const parent = events[0]?.parentSeqNum ?? 0
    const turn = socket.untilTurn(parent, signal)
    if (turn !== undefined) await turn
    const tip = socket.tip()
    // The server would say the same. A batch that ends at the head may be the one that made it.
    const isStale =
      tip !== undefined &&
      tip.backend === known &&
      tip.head > parent &&
      (tip.head !== last || isOther(tip.event, events.at(-1)))
    if (isStale) throw serverAhead(tip.head + 1, first)
    const answer = await socket
      .push({ body, messages: events, parent, last, backendId: known }, signal)
      .catch((cause: unknown) =>
        isLost(cause) && !signal.aborted ? undefined : checkRefusal(cause, first, known, signal),
      )
    // The connection closed before the answer. The Sequencer accepts the batch again if it has it.
    if (answer === undefined) return sendByHttp(chunk, known, signal)
    const { head, backend } = answer
    if (head < last || (known !== undefined && backend !== known)) {
      throw new ForeignAnswer(url, 200, `it does not acknowledge the events ${first} to ${last} of this store`)
    }
    return backend
  }

  const sendByHttp = async (
    { body, events }: Chunk,
    known: string | undefined,
    signal: AbortSignal,
  ): Promise<string> => {
    const headers = { ...JSON_TYPE, ...(known === undefined ? {} : { [BACKEND_ID_HEADER]: known }) }
    const first = events[0]?.seqNum ?? 0
    const last = events.at(-1)?.seqNum ?? 0
    const answer = await transport
      .request(url, { method: 'POST', headers, body }, { timeoutMs, signal })
      .catch((cause: unknown) => checkRefusal(cause, first, known, signal))
    const answering = acknowledgedBy(answer, first, last)
    if (answering === undefined || (known !== undefined && answering !== known)) {
      throw new ForeignAnswer(
        url,
        answer.status,
        `it does not acknowledge the events ${first} to ${last} of this store`,
      )
    }
    return answering
  }

  /** LiveStore can't undo its reaction to two refusals. Therefore the provider first checks that they are about this push and this store. */
  const checkRefusal = async (
    cause: unknown,
    first: number,
    known: string | undefined,
    signal: AbortSignal,
  ): Promise<never> => {
    if (!(cause instanceof ResponseError) || cause.status !== 409) throw cause
    const { _tag, providedNum } = cause.problem
    if (_tag === 'ServerAheadError' && providedNum !== first) {
      throw new ForeignAnswer(
        url,
        cause.status,
        `it refuses a push that begins with event ${String(providedNum)}, not ${first}`,
      )
    }
    if (_tag === 'BackendIdMismatchError') {
      const now = await askBackendId(signal)
      if (known === undefined || now === undefined || now === known) {
        throw new ForeignAnswer(url, cause.status, 'it reports another backend id, which the server does not confirm')
      }
    }
    throw cause
  }

  /** An empty push takes the way of every push, and the Worker refuses it with a problem of its own. */
  const probe = async (signal: AbortSignal): Promise<void> => {
    await askBackendId(signal)
    try {
      await transport.request(url, { method: 'POST', headers: JSON_TYPE, body: '[]' }, { timeoutMs, signal })
    } catch (cause) {
      if (cause instanceof ResponseError && !isTransient(cause)) return
      throw cause
    }
    throw new TransportError('the server accepted an empty push')
  }

  return { send, probe }
}

/** Returns the backend that acknowledges exactly these events; undefined if the answer is no acknowledgement (docs/http-api.md). */
const acknowledgedBy = (answer: Answer, first: number, last: number): string | undefined => {
  const { status, headers } = answer
  const isOfThese = status === 200 && headers.get(ACCEPTED_HEADER) === `${first}-${last}`
  return isOfThese && (vouchedHead(answer) ?? -1) >= last ? (headers.get(BACKEND_ID_HEADER) ?? undefined) : undefined
}

const isLost = (cause: unknown): boolean => cause instanceof TransportError && !cause.timedOut

/** Whether the head is another event than the last one of a push. Without the event, nobody can tell. */
const isOther = (atHead: unknown, last: Chunk['events'][number] | undefined): boolean =>
  atHead !== undefined && last !== undefined && !sameEvent(decodeEvent(atHead), last)
