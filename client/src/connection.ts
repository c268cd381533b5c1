/**
 * Who says whether we are connected: the live pulls while any is open, pings and other requests otherwise.
 *
 * LiveStore holds pulled items back while this is false (LeaderSyncProcessor.ts, `backgroundBackendPulling`) and starts
 * no push, so a ping that fails beside a healthy live pull must not flip it.
 */
import { Duration, Effect, type Scope, SubscriptionRef } from 'effect'

export interface LiveConnection {
  readonly up: Effect.Effect<void>
  readonly down: Effect.Effect<void>
}

export interface Connection {
  readonly isConnected: SubscriptionRef.SubscriptionRef<boolean>
  /** Takes part in the decision until the scope closes. */
  readonly live: Effect.Effect<LiveConnection, never, Scope.Scope>
  /** What a request that is no live read found; counts only while no live pull is open. */
  readonly observed: (connected: boolean) => Effect.Effect<void>
  readonly hasLive: () => boolean
}

export const makeConnection: Effect.Effect<Connection> = Effect.gen(function* () {
  const isConnected = yield* SubscriptionRef.make(false)
  const live = new Map<symbol, boolean>()

  const set = (connected: boolean) =>
    Effect.flatMap(SubscriptionRef.get(isConnected), (current) =>
      current === connected ? Effect.void : SubscriptionRef.set(isConnected, connected),
    )

  const liveSays = (id: symbol, connected: boolean) =>
    Effect.suspend(() => {
      live.set(id, connected)
      return set([...live.values()].some(Boolean))
    })

  return {
    isConnected,
    live: Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => {
          const id = Symbol('live pull')
          live.set(id, false)
          return id
        }),
        (id) => Effect.sync(() => live.delete(id)),
      ),
      (id) => ({ up: liveSays(id, true), down: liveSays(id, false) }),
    ),
    observed: (connected) => Effect.suspend(() => (live.size === 0 ? set(connected) : Effect.void)),
    hasLive: () => live.size > 0,
  }
})

/** Keeps `isConnected` honest while nothing else asks the server anything. */
export const pingWhileIdle = <E>(
  connection: Connection,
  ping: Effect.Effect<void, E>,
  intervalMs: number,
): Effect.Effect<never> =>
  Effect.sleep(Duration.millis(intervalMs)).pipe(
    Effect.zipRight(Effect.suspend(() => (connection.hasLive() ? Effect.void : Effect.ignore(ping)))),
    Effect.forever,
  )
