/**
 * The pure part of reading: messages of a stream in, items for LiveStore out.
 */
import { SyncBackend } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'
import { Option, Schema } from 'effect'

import { decodeEvent, decodeHeader } from './event.ts'

/** What LiveStore keeps beside each event and gives back in a cursor: where to read on without loss. */
export const SyncMetadata = Schema.Struct({ offset: Schema.String }).annotations({
  title: 'livestore-sync-durable-streams:SyncMetadata',
})

export type SyncMetadata = typeof SyncMetadata.Type

export type PullResItem = SyncBackend.PullResItem<SyncMetadata>

/** PROTOCOL 6: the offset before the first message. */
export const START_OFFSET = '-1'

export type Page =
  | {
      readonly _tag: 'Linked'
      /** The events after the cursor, in order, each linked to the one before. */
      readonly events: ReadonlyArray<LiveStoreEvent.Global.Encoded>
      /** From the stream's header message, if this page holds it. */
      readonly backendId: string | undefined
    }
  | {
      readonly _tag: 'Broken'
      readonly expected: string
      readonly found: string
      readonly backendId: string | undefined
    }

/**
 * Drops the events up to the cursor and checks the chain (docs/wire.md, "Events") over all the rest, and among the
 * dropped ones too, where a fork would otherwise hide.
 */
export const readPage = (messages: ReadonlyArray<unknown>, cursor: number): Page => {
  const events: Array<LiveStoreEvent.Global.Encoded> = []
  let backendId: string | undefined
  let previous: number | undefined

  for (const message of messages) {
    const header = decodeHeader(message)
    if (header !== undefined) {
      backendId = header
      continue
    }

    const broken = (expected: string, found: string): Page => ({ _tag: 'Broken', expected, found, backendId })
    const event = decodeEvent(message)
    if (event === undefined) return broken(`an event after ${previous ?? cursor}`, preview(message))

    const isNew = event.seqNum > cursor
    // The first new one links to the cursor, and everything links to what stands before it in the page.
    const parents = [...(isNew && events.length === 0 ? [cursor] : []), ...(previous === undefined ? [] : [previous])]
    const parent = parents.find((parent) => event.parentSeqNum !== parent)
    if (parent !== undefined || event.seqNum <= event.parentSeqNum) {
      return broken(
        `an event whose parentSeqNum is ${parent ?? cursor}`,
        `seqNum ${event.seqNum} with parentSeqNum ${event.parentSeqNum}`,
      )
    }
    previous = event.seqNum
    if (isNew) events.push(event)
  }
  return { _tag: 'Linked', events, backendId }
}

export interface PageContext {
  /** The offset the page was read from, if it was read from one, and the one after it. */
  readonly readFrom: string | undefined
  readonly next: string
  readonly upToDate: boolean
  /**
   * The newest head the server spoke of, or 0; it may lag behind the page itself. Undefined where the server does not
   * speak of its head at all.
   */
  readonly head: number | undefined
  readonly maxItemEvents: number
}

/**
 * Cuts a page into items. All but the page's last event carry the offset the page was read from, because an offset
 * inside an append does not exist; resuming there re-reads the page and drops what is known. A page that was read from no
 * offset (`after`, docs/wire.md) leaves them none: they are found by their seqNum again.
 */
export const cutPage = (
  events: ReadonlyArray<LiveStoreEvent.Global.Encoded>,
  { readFrom, next, upToDate, head, maxItemEvents }: PageContext,
): Array<PullResItem> => {
  const last = events.at(-1)
  if (last === undefined) return []
  const knownHead = head === undefined ? undefined : Math.max(head, last.seqNum)
  const size = Math.max(1, maxItemEvents)

  const items: Array<PullResItem> = []
  for (let start = 0; start < events.length; start += size) {
    const slice = events.slice(start, start + size)
    const end = start + slice.length
    items.push({
      batch: slice.map((eventEncoded) => ({
        eventEncoded,
        metadata: metadata(eventEncoded === last ? next : readFrom),
      })),
      pageInfo: pageInfo(end === events.length && upToDate, (knownHead ?? 0) - (slice.at(-1)?.seqNum ?? 0)),
    })
  }
  return items
}

const metadata = (offset: string | undefined): Option.Option<SyncMetadata> =>
  offset === undefined ? Option.none() : Option.some({ offset })

const pageInfo = (isEnd: boolean, remaining: number): SyncBackend.PullResPageInfo => {
  if (isEnd) return SyncBackend.pageInfoNoMore
  return remaining > 0 ? SyncBackend.pageInfoMoreKnown(remaining) : SyncBackend.pageInfoMoreUnknown
}

/** Where a cursor says to start: at no offset, if it has none of ours. Another provider's metadata says nothing to us. */
export const startOf = (
  cursor: Option.Option<{ readonly eventSequenceNumber: number; readonly metadata: Option.Option<unknown> }>,
): { readonly seqNum: number; readonly offset: string | undefined } => ({
  seqNum: Option.match(cursor, { onNone: () => 0, onSome: (_) => _.eventSequenceNumber }),
  offset: cursor.pipe(
    Option.flatMap((_) => _.metadata),
    Option.flatMap(Schema.decodeUnknownOption(SyncMetadata)),
    Option.match({ onNone: () => undefined, onSome: (_) => _.offset }),
  ),
})

const preview = (message: unknown): string => {
  const text = JSON.stringify(message) ?? String(message)
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
