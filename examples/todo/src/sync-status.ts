import { StoreInternalsSymbol } from '@livestore/livestore'
import { Effect, Fiber, Schedule, Stream } from '@livestore/utils/effect'
import { useEffect, useState } from 'react'
import type { TodoStore } from './store.ts'

export interface SyncStatus {
  readonly connected: boolean
  /** Events that the server has not confirmed yet. */
  readonly pending: number
  /** The server's last event, as far as the leader knows. */
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
 * LiveStore's `useSyncStatus` shows what this window has sent to the leader. Only the leader knows what it has sent to the
 * server, and LiveStore has no public API for that yet.
 */
const statusOf = (store: TodoStore): Stream.Stream<SyncStatus, unknown> => {
  const { clientSession, syncProcessor } = store[StoreInternalsSymbol]
  const { syncState, networkStatus } = clientSession.leaderThread
  const session = Stream.concat(Stream.fromEffect(syncProcessor.syncState.get), syncProcessor.syncState.changes)
  // When the window with the leader closes, its streams end, and another window starts a leader. Repeat the streams.
  const followed = <A, E, R>(changes: Stream.Stream<A, E, R>) => Stream.repeat(changes, Schedule.spaced('100 millis'))
  return Stream.zipLatestAll(session, followed(syncState.changes), followed(networkStatus.changes)).pipe(
    Stream.map(([session, leader, { isConnected }]) => ({
      connected: isConnected,
      pending: Math.max(synced(session.pending), synced(leader.pending)),
      head: leader.upstreamHead.global,
    })),
  )
}

/** The number of the events that leave the device. */
const synced = (events: readonly { readonly seqNum: { readonly client: number } }[]) =>
  events.filter(({ seqNum }) => seqNum.client === 0).length
