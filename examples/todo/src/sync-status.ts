import { StoreInternalsSymbol } from '@livestore/livestore'
import { Effect, Fiber, Schedule, Stream } from '@livestore/utils/effect'
import { useEffect, useState } from 'react'
import type { TodoStore } from './store.ts'

export interface SyncStatus {
  readonly connected: boolean
  /** Events that the server has not confirmed yet. */
  readonly pending: number
  /** The last event that it has. */
  readonly head: number
}

/** Undefined until the leader has answered. */
export const useSyncStatus = (store: TodoStore): SyncStatus | undefined => {
  const [status, setStatus] = useState<SyncStatus>()
  useEffect(() => {
    const fiber = Effect.runFork(Stream.runForEach(statusOf(store), (next) => Effect.sync(() => setStatus(next))))
    return () => void Effect.runFork(Fiber.interrupt(fiber))
  }, [store])
  return status
}

/**
 * LiveStore's `useSyncStatus` tells what this window has sent to the leader. What the leader has sent to the server only
 * the leader knows, and that has no public door yet.
 */
const statusOf = (store: TodoStore): Stream.Stream<SyncStatus, unknown> => {
  const { clientSession, syncProcessor } = store[StoreInternalsSymbol]
  const { syncState, networkStatus } = clientSession.leaderThread
  const session = Stream.concat(Stream.fromEffect(syncProcessor.syncState.get), syncProcessor.syncState.changes)
  // Another window takes over the lead when the one that has it is closed: its streams end with it.
  const followed = <A, E, R>(changes: Stream.Stream<A, E, R>) => Stream.repeat(changes, Schedule.spaced('100 millis'))
  return Stream.zipLatestAll(session, followed(syncState.changes), followed(networkStatus.changes)).pipe(
    Stream.map(([session, leader, { isConnected }]) => ({
      connected: isConnected,
      pending: Math.max(synced(session.pending), synced(leader.pending)),
      head: leader.upstreamHead.global,
    })),
  )
}

/** Those that leave the device. */
const synced = (events: readonly { readonly seqNum: { readonly client: number } }[]) =>
  events.filter(({ seqNum }) => seqNum.client === 0).length
