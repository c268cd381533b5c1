/**
 * What a direct writer decides: a state machine without IO, clock or randomness, of the same kind as the Sequencer's
 * (src/sequencer/core/mod.rs), for one client that writes to the log among others.
 *
 * The contract with whoever drives it: carry out what `nextStep` says, give the outcome to `replied`, and go on until
 * there is an answer. Before an append is sent the writer becomes `appending`, so that whatever happens to the one who
 * waits for it, an unknown outcome is known to be unknown.
 *
 * Invariants:
 * - Nothing is appended but onto a head that this client has seen at the end of the log, and with the fence. An offset
 *   within an append is no such end: there the fence would let a second batch through.
 * - An append of unknown outcome is never repeated before the log was read from the last offset known to be committed.
 * - A new producerSeq begins only where the same push has just looked at the log (docs/internals/architecture.md, "The chain and the
 *   fence"): a server that has forgotten its fence would take anything, and only a producerSeq shows that it has.
 */
import type { LiveStoreEvent } from '@livestore/common/schema'

import { sameEvent } from '../store/event.ts'
import { readPage } from '../reading/page.ts'
import type { LogTail } from '../reading/source.ts'
import type { Chunk } from '../writing/writer.ts'

type Event = LiveStoreEvent.Global.Encoded

/** The end of the log as this client has seen it. */
export interface Tip extends LogTail {
  /** The body that made the head, if we did: pushed again it is accepted again. */
  readonly madeBy?: string
}

export type TipState =
  /** Nothing: all is to be read. `lost` is the tip that the log contradicted, if that is why. */
  | { readonly _tag: 'Unknown'; readonly lost?: Tip }
  /** To be compared with the log before anything is appended. `appendPending`: an append onto it may have landed. */
  | { readonly _tag: 'Unverified'; readonly tip: Tip; readonly appendPending: boolean }
  /** The log has moved past it: what follows is to be read. */
  | { readonly _tag: 'Behind'; readonly tip: Tip }
  | { readonly _tag: 'Verified'; readonly tip: Tip }
  /** There is no stream. */
  | { readonly _tag: 'NoStream' }

export interface Writer {
  readonly tipState: TipState
  /** Appends that landed since the log was last looked at. */
  readonly producerSeq: number
}

export const newWriter: Writer = { tipState: { _tag: 'Unknown' }, producerSeq: 0 }

/** One chunk on its way. */
export interface Push {
  readonly chunk: Chunk
  /** It is in the log. */
  readonly landed: boolean
  /** The fence has refused it, and the log has been read since. */
  readonly refused: boolean
  /** The log has been looked at for its sake. */
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
  /** Of a read: the server knows no such offset. */
  | { readonly _tag: 'NoSuchOffset' }
  | { readonly _tag: 'Created' }
  | { readonly _tag: 'Exists' }
  | { readonly _tag: 'Appended'; readonly offset: string }
  | { readonly _tag: 'Conflict' }
  | { readonly _tag: 'Forgotten' }

export type Verdict =
  | { readonly _tag: 'Go'; readonly writer: Writer; readonly push: Push }
  /** The log can't be written to, and why; trying again later looks again. */
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
      return againstTip(tipState.tip, push, producerSeq)
  }
}

const againstTip = (tip: Tip, { chunk, looked }: Push, producerSeq: number): Step => {
  const parent = parentOf(chunk)
  if (tip.madeBy === chunk.body) return { _tag: 'Accepted' }
  if (parent < tip.head) return { _tag: 'ServerAhead', head: tip.head }
  if (!looked && (producerSeq === 0 || parent > tip.head)) return { _tag: 'Check' }
  return parent === tip.head ? { _tag: 'Append', tip, producerSeq } : { _tag: 'Gap', head: tip.head }
}

/** An append onto this tip is about to be sent. */
export const appending = (tip: Tip): Writer => ({ tipState: { _tag: 'Unverified', tip, appendPending: true }, producerSeq: 0 })

/** `writer` is what it was when the request was sent. */
export const replied = (writer: Writer, push: Push, request: Request, reply: Reply): Verdict => {
  if (reply._tag === 'Missing') return go({ _tag: 'NoStream' }, push)
  switch (request._tag) {
    case 'Check':
      return reply._tag === 'Checked' ? checked(writer, push, reply.tail) : later(writer)
    case 'Read':
      if (reply._tag === 'NoSuchOffset') return go(unread(request.from), push)
      if (reply._tag !== 'Read') return later(writer)
      return request.from === undefined ? readAll(writer, push, reply) : readOn(request.from, push, reply)
    case 'Create':
      // By whomever: others may have written to it already.
      return go(unread(undefined), push)
    case 'Append':
      return appended(request, push, reply)
  }
}

const checked = (writer: Writer, push: Push, tail: string): Verdict => {
  const tip = tipOf(writer)
  const looked = { ...push, looked: true }
  if (tip === undefined) return go(unread(undefined), looked)
  if (tail === tip.offset) return go(current(tip), looked)
  // PROTOCOL 8: offsets sort by their bytes.
  return go(tail > tip.offset ? { _tag: 'Behind', tip } : unread(tip), looked)
}

const readOn = (from: Tip, push: Push, { messages, end }: Reply & { _tag: 'Read' }): Verdict => {
  const page = readPage(messages, from.head, true)
  if (page._tag === 'Foreign') return later({ tipState: { _tag: 'Behind', tip: from }, producerSeq: 0 })
  // It does not continue what we know: the whole log must say what it is.
  if (page._tag === 'Broken' || page.backendId !== undefined || end < from.offset) return go(unread(from), push)
  const last = page.events.at(-1)
  const tip = last === undefined ? { ...from, offset: end } : { offset: end, head: last.seqNum }
  return go(current(tip), { ...push, looked: true, landed: holds(page.events, push.chunk) })
}

const readAll = (writer: Writer, push: Push, { messages, end }: Reply & { _tag: 'Read' }): Verdict => {
  const page = readPage(messages, 0)
  if (page._tag === 'Foreign') return later(writer)
  if (page._tag === 'Broken') {
    return { _tag: 'Stop', writer, why: `the log is broken: expected ${page.expected}, found ${page.found}. ${BROKEN_BY}` }
  }
  const head = page.events.at(-1)?.seqNum ?? 0
  const lost = writer.tipState._tag === 'Unknown' ? writer.tipState.lost : undefined
  // Offsets of another server say nothing: a log that was moved has the same events elsewhere.
  if (lost !== undefined && head < lost.head) {
    return { _tag: 'Stop', writer, why: `the log lost events: it ends at ${head}, and once went to ${lost.head}` }
  }
  return go(current({ offset: end, head }), { ...push, looked: true, landed: holds(page.events, push.chunk) })
}

/** The proof of the fence needs it so (docs/reliability.md). */
const BROKEN_BY =
  'Something appended without the fence, or the server keeps Stream-Seq for each writer and not for each stream, and then direct mode can\'t be used with it'

const appended = ({ tip, producerSeq }: Request & { _tag: 'Append' }, push: Push, reply: Reply): Verdict => {
  const { chunk } = push
  switch (reply._tag) {
    case 'Appended': {
      // The log was shorter than we knew: what landed is not where it belongs.
      if (reply.offset <= tip.offset) return go(unread(tip), push)
      const next = { offset: reply.offset, head: chunk.events.at(-1)?.seqNum ?? tip.head, madeBy: chunk.body }
      return { _tag: 'Go', writer: { tipState: current(next), producerSeq: producerSeq + 1 }, push: { ...push, landed: true } }
    }
    case 'Conflict':
      // Read since the last refusal, and nothing explains it: it is not shown yet, or it is not the log we know.
      if (push.refused) return later(appending(tip))
      return go({ _tag: 'Behind', tip }, { ...push, refused: true })
    default:
      return go({ _tag: 'Unverified', tip, appendPending: true }, push)
  }
}

/** The end of the log, as a pull of this client has read it. */
export const observeTip = (writer: Writer, tip: Tip): Writer => {
  const { tipState } = writer
  switch (tipState._tag) {
    case 'Unknown':
    case 'NoStream':
      return 'lost' in tipState ? writer : { tipState: { _tag: 'Unverified', tip, appendPending: false }, producerSeq: 0 }
    case 'Unverified':
      // What may have landed there is looked for from there.
      return tipState.appendPending || tip.head <= tipState.tip.head ? writer : { ...writer, tipState: { ...tipState, tip } }
    case 'Behind':
      return writer
    case 'Verified':
      return tip.head <= tipState.tip.head || tip.offset <= tipState.tip.offset
        ? writer
        : { ...writer, tipState: current(tip) }
  }
}

/** A connection was lost: what answers next may have forgotten, or may be another. */
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

const current = (tip: Tip): TipState => ({ _tag: 'Verified', tip })

const unread = (lost: Tip | undefined): TipState => (lost === undefined ? { _tag: 'Unknown' } : { _tag: 'Unknown', lost })

/** All but a landed append ends the producerSeq. */
const go = (tipState: TipState, push: Push): Verdict => ({ _tag: 'Go', writer: { tipState, producerSeq: 0 }, push })

const later = (writer: Writer): Verdict => ({ _tag: 'Later', writer })
