/** The pure part of reading: it turns the messages of a stream into items for LiveStore. */
import type { SyncBackend } from '@livestore/common'
import type { LiveStoreEvent } from '@livestore/common/schema'

import { backendIdIn, follows } from '../protocol/index.js'
import { decodeEvent } from '../store/event.ts'

/** The events that LiveStore receives at once. */
export interface PullItem {
  readonly batch: ReadonlyArray<PulledEvent>
  readonly pageInfo: SyncBackend.PullResPageInfo
}

export interface PulledEvent {
  readonly event: LiveStoreEvent.Global.Encoded
  /** A read from here goes on after this event without loss; undefined if only its seqNum tells the position. */
  readonly offset: string | undefined
}

/** PROTOCOL 6: the offset before the first message. */
export const START_OFFSET = '-1'

export const NO_MORE: SyncBackend.PullResPageInfo = { _tag: 'NoMore' }
export const EMPTY_ITEM: PullItem = { batch: [], pageInfo: NO_MORE }

export type Page =
  | {
      readonly _tag: 'Linked'
      /** The events after the cursor. Each links to the one before. */
      readonly events: ReadonlyArray<LiveStoreEvent.Global.Encoded>
      /** The id in the stream's header message, if this page holds it. */
      readonly backendId: string | undefined
    }
  | {
      readonly _tag: 'Broken'
      readonly expected: string
      readonly found: string
      readonly backendId: string | undefined
    }
  /** The page holds a message that is neither a header nor an event. It is not a store's page. */
  | { readonly _tag: 'Foreign'; readonly found: string }

/**
 * Drops the events up to the cursor, and checks the chain (docs/http-api.md, "Events"). It also checks the dropped events, among
 * which a fork could hide. A page that `continues` the cursor begins right behind it. There is nothing to drop, and an event
 * that seems known is a fork.
 */
export const readPage = (messages: ReadonlyArray<unknown>, cursor: number, continues = false): Page => {
  const events: Array<LiveStoreEvent.Global.Encoded> = []
  let backendId: string | undefined
  let previous = continues ? cursor : undefined

  for (const message of messages) {
    const header = backendIdIn(message)
    if (header !== undefined) {
      backendId = header
      continue
    }

    const broken = (expected: string, found: string): Page => ({ _tag: 'Broken', expected, found, backendId })
    const event = decodeEvent(message)
    if (event === undefined) return { _tag: 'Foreign', found: preview(message) }

    const isNew = event.seqNum > cursor
    // The first new event links to the cursor, and every event links to the one before it in the page.
    const parents = [...(isNew && events.length === 0 ? [cursor] : []), previous ?? event.parentSeqNum]
    const parent = parents.find((parent) => !follows(event, parent))
    if (parent !== undefined) {
      return broken(
        `an event whose parentSeqNum is ${parent}`,
        `seqNum ${event.seqNum} with parentSeqNum ${event.parentSeqNum}`,
      )
    }
    previous = event.seqNum
    if (isNew) events.push(event)
  }
  return { _tag: 'Linked', events, backendId }
}

export interface PageContext {
  /** The offset that the page was read from, if it was read from one, and the offset behind it. */
  readonly readFrom: string | undefined
  readonly next: string
  readonly upToDate: boolean
  /**
   * The newest head that the server told, or 0. It may lag behind the page itself. Undefined if the server does not tell
   * its head.
   */
  readonly head: number | undefined
  readonly maxItemEvents: number
}

/**
 * Cuts a page into items. Only the page's last event carries the next offset. The others carry the offset that the page was
 * read from, because no offset exists inside an append. A resumed pull reads the page again and drops the known events.
 * Events of a page that was read by seqNum (`after`, docs/http-api.md) carry no offset.
 */
export const cutPage = (
  events: ReadonlyArray<LiveStoreEvent.Global.Encoded>,
  { readFrom, next, upToDate, head, maxItemEvents }: PageContext,
): Array<PullItem> => {
  const last = events.at(-1)
  if (last === undefined) return []
  const knownHead = head === undefined ? undefined : Math.max(head, last.seqNum)
  const size = Math.max(1, maxItemEvents)

  const items: Array<PullItem> = []
  for (let start = 0; start < events.length; start += size) {
    const slice = events.slice(start, start + size)
    const end = start + slice.length
    items.push({
      batch: slice.map((event) => ({ event, offset: event === last ? next : readFrom })),
      pageInfo: pageInfo(end === events.length && upToDate, (knownHead ?? 0) - (slice.at(-1)?.seqNum ?? 0)),
    })
  }
  return items
}

const pageInfo = (isEnd: boolean, remaining: number): SyncBackend.PullResPageInfo => {
  if (isEnd) return NO_MORE
  return remaining > 0 ? { _tag: 'MoreKnown', remaining } : { _tag: 'MoreUnknown' }
}

const preview = (message: unknown): string => {
  const text = JSON.stringify(message) ?? String(message)
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
