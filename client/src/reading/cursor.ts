/** LiveStore's shapes of what a pull takes and gives. */
import type { SyncBackend } from '@livestore/common'
import { Option, Schema } from 'effect'

import type { PullItem } from './page.ts'

/** What LiveStore keeps beside each event and gives back in a cursor: where to read on without loss. */
export const SyncMetadata = Schema.Struct({ offset: Schema.String }).annotations({
  title: 'livestore-sync-durable-streams:SyncMetadata',
})

export type SyncMetadata = typeof SyncMetadata.Type

/** Where a pull begins. */
export interface Start {
  readonly seqNum: number
  /** Undefined where only the seqNum tells. */
  readonly offset: string | undefined
}

/** Where a cursor says to start: at no offset, if it has none of ours. Another provider's metadata says nothing to us. */
export const startOf = (
  cursor: Option.Option<{ readonly eventSequenceNumber: number; readonly metadata: Option.Option<unknown> }>,
): Start => ({
  seqNum: Option.match(cursor, { onNone: () => 0, onSome: (_) => _.eventSequenceNumber }),
  offset: cursor.pipe(
    Option.flatMap((_) => _.metadata),
    Option.flatMap(Schema.decodeUnknownOption(SyncMetadata)),
    Option.match({ onNone: () => undefined, onSome: (_) => _.offset }),
  ),
})

export const toPullResItem = ({ batch, pageInfo }: PullItem): SyncBackend.PullResItem<SyncMetadata> => ({
  batch: batch.map(({ event, offset }) => ({
    eventEncoded: event,
    metadata: offset === undefined ? Option.none() : Option.some({ offset }),
  })),
  pageInfo,
})
