/** Cuts a batch into chunks that one push may carry. */
import type { LiveStoreEvent } from '@livestore/common/schema'

import { encodeEvent } from '../store/event.ts'
import { type Obstacle, obstacleOf } from './event-check.ts'
import type { Chunk } from './writer.ts'

type Event = LiveStoreEvent.Global.Encoded

export interface PushLimits {
  readonly maxBatchEvents: number
  readonly maxBatchBytes: number
}

export interface Chunked {
  readonly chunks: ReadonlyArray<Chunk>
  /** The reason why the event behind the last chunk, and all after it, can't be pushed. */
  readonly obstacle: Obstacle | undefined
}

/** The chunks keep both limits, in bytes as sent. They end before the first event that can't be pushed. */
export const chunkBatch = (batch: ReadonlyArray<Event>, { maxBatchEvents, maxBatchBytes }: PushLimits): Chunked => {
  const brackets = 2
  const chunks: Array<Chunk> = []
  let json: Array<string> = []
  let events: Array<Event> = []
  let bytes = brackets

  const flush = () => {
    if (events.length > 0) chunks.push({ body: `[${json.join(',')}]`, events })
    json = []
    events = []
    bytes = brackets
  }
  for (const event of batch) {
    const encoded = encode(event)
    const size = typeof encoded === 'string' ? utf8.encode(encoded).byteLength : 0
    const obstacle = typeof encoded === 'string' ? obstacleOf(event, encoded, size + brackets, maxBatchBytes) : encoded
    if (obstacle !== undefined || typeof encoded !== 'string') {
      flush()
      return { chunks, obstacle }
    }
    const comma = events.length > 0 ? 1 : 0
    if (events.length >= Math.max(1, maxBatchEvents) || bytes + comma + size > maxBatchBytes) flush()
    bytes += size + (events.length > 0 ? 1 : 0)
    json.push(encoded)
    events.push(event)
  }
  flush()
  return { chunks, obstacle: undefined }
}

const encode = (event: Event): string | Obstacle => {
  try {
    return encodeEvent(event)
  } catch (cause) {
    return {
      seqNum: event.seqNum,
      why: `event ${event.seqNum} (${event.name}) can't be written as JSON: ${String(cause)}`,
    }
  }
}

export const chunkOf = (events: ReadonlyArray<Event>): Chunk => ({
  body: `[${events.map(encodeEvent).join(',')}]`,
  events,
})

const utf8 = new TextEncoder()
