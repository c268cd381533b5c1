/**
 * The decisions of a direct writer: a state machine without IO, clock or randomness, of the same kind as the Sequencer's
 * (core/src/sequencer/mod.rs), for one client that writes to the log among others.
 *
 * The contract with its driver (direct-push.ts): carry out `nextStep`, give the outcome to `onReply`, and repeat until there
 * is a result. The driver calls `beginAppend` before it sends an append. LiveStore may interrupt the push then, and the
 * writer still knows that the outcome is unknown.
 *
 * Invariants:
 * - The writer appends only with the fence, and only onto a head that this client has seen at the end of the log. An offset
 *   inside an append is no end of the log: there, the fence would let a second batch through.
 * - The writer repeats an append of unknown outcome only after it has read the log from the last committed offset.
 * - A new producer begins only if the same push has just looked at the log (docs/internals/architecture.md, "The chain and the
 *   fence"). A server that has forgotten its fence would accept anything, and only a producer in use reveals that.
 */
import type { LiveStoreEvent } from '@livestore/common/schema'

import { readPage } from '../reading/page.ts'
import type { LogTail } from '../reading/source.ts'
import { sameEvent } from '../store/event.ts'
import type { Chunk } from '../writing/writer.ts'

type Event = LiveStoreEvent.Global.Encoded

/** The end of the log as this client has seen it. */
export interface Tip extends LogTail {
  /** The body that made the head, if this client did. The same push again is accepted again. */
  readonly madeBy?: string
}

export type TipState =
  /** The writer must read the whole log. `lost` is the tip that the log contradicted, if one did. */
  | { readonly _tag: 'Unknown'; readonly lost?: Tip }
  /** The writer must compare the tip with the log before it appends. `appendPending`: an append onto it may have landed. */
  | { readonly _tag: 'Unverified'; readonly tip: Tip; readonly appendPending: boolean }
  /** The log goes on after the tip. The writer must read from there. */
  | { readonly _tag: 'Behind'; readonly tip: Tip }
  | { readonly _tag: 'Verified'; readonly tip: Tip }
  | { readonly _tag: 'NoStream' }

export interface Writer {
  readonly tipState: TipState
  /** Appends that landed since the writer last looked at the log. They number the producer's next append. */
  readonly producerSeq: number
}

export const newWriter: Writer = { tipState: { _tag: 'Unknown' }, producerSeq: 0 }

export interface Push {
  readonly chunk: Chunk
  /** The chunk is in the log. */
  readonly landed: boolean
  /** The fence has refused the chunk, and the writer has read the log since. */
  readonly refused: boolean
  /** The writer has looked at the log for this push. */
  readonly looked: boolean
}

export const newPush = (chunk: Chunk): Push => ({ chunk, landed: false, refused: false, looked: false })

export type Request =
  | { readonly _tag: 'Check' }
  | { readonly _tag: 'Read'; readonly from: Tip | undefined }
  | { readonly _tag: 'Create' }
  | { readonly _tag: 'Append'; readonly tip: Tip; readonly producerSeq: number }

export type Step =
  | Request
  | { readonly _tag: 'Accepted' }
  | { readonly _tag: 'ServerAhead'; readonly head: number }
  | { readonly _tag: 'Gap'; readonly head: number }

export type Reply =
  | { readonly _tag: 'Missing' }
  | { readonly _tag: 'Checked'; readonly tail: string }
  | { readonly _tag: 'Read'; readonly messages: ReadonlyArray<unknown>; readonly end: string }
  /** The server does not know the offset of a read. */
  | { readonly _tag: 'NoSuchOffset' }
  | { readonly _tag: 'Created' }
  | { readonly _tag: 'Exists' }
  | { readonly _tag: 'Appended'; readonly offset: string }
  | { readonly _tag: 'Conflict' }
  | { readonly _tag: 'Forgotten' }

export type Verdict =
  | { readonly _tag: 'Go'; readonly writer: Writer; readonly push: Push }
  /** Nothing can be appended. The next push looks at the log again. */
  | { readonly _tag: 'Stop'; readonly writer: Writer; readonly why: string }
  /** Nothing explains the refusal yet. */
  | { readonly _tag: 'Later'; readonly writer: Writer }

export const nextStep = ({ tipState, producerSeq }: Writer, push: Push): Step => {
  if (push.landed) return { _tag: 'Accepted' }
  switch (tipState._tag) {
    case 'Unknown':
      return { _tag: 'Read', from: undefined }
    case 'Unverified':
      return { _tag: 'Check' }
    case 'Behind':
      return { _tag: 'Read', from: tipState.tip }
    case 'NoStream':
      return { _tag: 'Create' }
    case 'Verified':
      return stepAtTip(tipState.tip, push, producerSeq)
  }
}

const stepAtTip = (tip: Tip, { chunk, looked }: Push, producerSeq: number): Step => {
  const parent = parentOf(chunk)
  if (tip.madeBy === chunk.body) return { _tag: 'Accepted' }
  if (parent < tip.head) return { _tag: 'ServerAhead', head: tip.head }
  if (!looked && (producerSeq === 0 || parent > tip.head)) return { _tag: 'Check' }
  return parent === tip.head ? { _tag: 'Append', tip, producerSeq } : { _tag: 'Gap', head: tip.head }
}

/** Call this before an append onto this tip is sent. */
export const beginAppend = (tip: Tip): Writer => ({
  tipState: { _tag: 'Unverified', tip, appendPending: true },
  producerSeq: 0,
})

/** `writer` is its state from before the request. */
export const onReply = (writer: Writer, push: Push, request: Request, reply: Reply): Verdict => {
  if (reply._tag === 'Missing') return go({ _tag: 'NoStream' }, push)
  switch (request._tag) {
    case 'Check':
      return reply._tag === 'Checked' ? onChecked(writer, push, reply.tail) : later(writer)
    case 'Read':
      if (reply._tag === 'NoSuchOffset') return go(unknown(request.from), push)
      if (reply._tag !== 'Read') return later(writer)
      return request.from === undefined ? readAll(writer, push, reply) : readOn(request.from, push, reply)
    case 'Create':
      // Another client may have created it, and written to it.
      return go(unknown(undefined), push)
    case 'Append':
      return onAppended(request, push, reply)
  }
}

const onChecked = (writer: Writer, push: Push, tail: string): Verdict => {
  const tip = tipOf(writer)
  const looked = { ...push, looked: true }
  if (tip === undefined) return go(unknown(undefined), looked)
  if (tail === tip.offset) return go(verified(tip), looked)
  // PROTOCOL 8: offsets sort by their bytes.
  return go(tail > tip.offset ? { _tag: 'Behind', tip } : unknown(tip), looked)
}

const readOn = (from: Tip, push: Push, { messages, end }: Reply & { _tag: 'Read' }): Verdict => {
  const page = readPage(messages, from.head, true)
  if (page._tag === 'Foreign') return later({ tipState: { _tag: 'Behind', tip: from }, producerSeq: 0 })
  // The page does not continue the known log. Only the whole log can tell what it is.
  if (page._tag === 'Broken' || page.backendId !== undefined || end < from.offset) return go(unknown(from), push)
  const last = page.events.at(-1)
  const tip = last === undefined ? { ...from, offset: end } : { offset: end, head: last.seqNum }
  return go(verified(tip), { ...push, looked: true, landed: holds(page.events, push.chunk) })
}

const readAll = (writer: Writer, push: Push, { messages, end }: Reply & { _tag: 'Read' }): Verdict => {
  const page = readPage(messages, 0)
  if (page._tag === 'Foreign') return later(writer)
  if (page._tag === 'Broken') {
    return {
      _tag: 'Stop',
      writer,
      why: `the log is broken: expected ${page.expected}, found ${page.found}. ${BROKEN_BY}`,
    }
  }
  const head = page.events.at(-1)?.seqNum ?? 0
  const lost = writer.tipState._tag === 'Unknown' ? writer.tipState.lost : undefined
  // A log that was moved has the same events at other offsets. Therefore only the head counts.
  if (lost !== undefined && head < lost.head) {
    return {
      _tag: 'Stop',
      writer,
      why: `the log lost events: it ends at event ${head}, but once ended at event ${lost.head}`,
    }
  }
  return go(verified({ offset: end, head }), { ...push, looked: true, landed: holds(page.events, push.chunk) })
}

/** The proof of the fence assumes that neither happens (docs/reliability.md). */
const BROKEN_BY =
  "Either something appended without the fence (Stream-Seq), or the server keeps a Stream-Seq for each writer instead of one for the stream. Direct mode can't be used with such a server"

const onAppended = ({ tip, producerSeq }: Request & { _tag: 'Append' }, push: Push, reply: Reply): Verdict => {
  const { chunk } = push
  switch (reply._tag) {
    case 'Appended': {
      // The log was shorter than the known one: the append landed at a wrong place.
      if (reply.offset <= tip.offset) return go(unknown(tip), push)
      const next = { offset: reply.offset, head: chunk.events.at(-1)?.seqNum ?? tip.head, madeBy: chunk.body }
      return {
        _tag: 'Go',
        writer: { tipState: verified(next), producerSeq: producerSeq + 1 },
        push: { ...push, landed: true },
      }
    }
    case 'Conflict':
      // The log was read since the last refusal, and does not explain it: the server does not show the other append yet, or it is another log.
      if (push.refused) return later(beginAppend(tip))
      return go({ _tag: 'Behind', tip }, { ...push, refused: true })
    default:
      return go({ _tag: 'Unverified', tip, appendPending: true }, push)
  }
}

/** A pull of this client has read the log to its end. */
export const observeTip = (writer: Writer, tip: Tip): Writer => {
  const { tipState } = writer
  switch (tipState._tag) {
    case 'Unknown':
    case 'NoStream':
      return 'lost' in tipState
        ? writer
        : { tipState: { _tag: 'Unverified', tip, appendPending: false }, producerSeq: 0 }
    case 'Unverified':
      // The writer looks for a pending append from its own tip.
      return tipState.appendPending || tip.head <= tipState.tip.head
        ? writer
        : { ...writer, tipState: { ...tipState, tip } }
    case 'Behind':
      return writer
    case 'Verified':
      return tip.head <= tipState.tip.head || tip.offset <= tipState.tip.offset
        ? writer
        : { ...writer, tipState: verified(tip) }
  }
}

/** A connection was lost. The next server may have forgotten its fence, or may be another one. */
export const invalidate = (writer: Writer): Writer =>
  writer.tipState._tag === 'Verified'
    ? { tipState: { _tag: 'Unverified', tip: writer.tipState.tip, appendPending: false }, producerSeq: 0 }
    : writer

const holds = (events: ReadonlyArray<Event>, chunk: Chunk): boolean => {
  const at = events.findIndex((event) => event.parentSeqNum === parentOf(chunk))
  return at >= 0 && chunk.events.every((event, i) => sameEvent(events[at + i], event))
}

const parentOf = ({ events }: Chunk): number => events[0]?.parentSeqNum ?? 0

const tipOf = ({ tipState }: Writer): Tip | undefined => ('tip' in tipState ? tipState.tip : undefined)

const verified = (tip: Tip): TipState => ({ _tag: 'Verified', tip })

const unknown = (lost: Tip | undefined): TipState =>
  lost === undefined ? { _tag: 'Unknown' } : { _tag: 'Unknown', lost }

/** Everything but a landed append ends the producer. */
const go = (tipState: TipState, push: Push): Verdict => ({ _tag: 'Go', writer: { tipState, producerSeq: 0 }, push })

const later = (writer: Writer): Verdict => ({ _tag: 'Later', writer })
