/** Converts the cursor and the items of a pull from and to LiveStore's types. */
import type { SyncBackend } from '@livestore/common'
import { Option, Schema } from 'effect'

import type { PullItem } from './page.ts'

/** LiveStore keeps this beside each event and gives it back in a cursor. A read from `offset` loses no event. */
export const SyncMetadata = Schema.Struct({ offset: Schema.String }).annotations({
  title: 'livestore-sync-durable-streams:SyncMetadata',
})

export type SyncMetadata = typeof SyncMetadata.Type

export interface Start {
  readonly seqNum: number
  /** Undefined if only the seqNum tells the position. */
  readonly offset: string | undefined
}

/** The start of a pull. The metadata of another provider gives no offset. */
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
