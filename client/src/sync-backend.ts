import { IsOfflineError, SyncBackend, UnknownError } from '@livestore/common'
import { Cause, Effect, Option, Runtime, Stream, SubscriptionRef } from 'effect'

import { isHttpFailure, type SyncError, TransportError, toSyncError } from './http/errors.ts'
import { makeRoute } from './modes/make-route.ts'
import type { Route } from './modes/route.ts'
import { resolveSettings, type Settings, type SyncBackendOptions } from './options.ts'
import { type Start, type SyncMetadata, startOf, toPullResItem } from './reading/cursor.ts'
import { type LivePull, openPull, type PullDeps, type PullError, type Puller } from './reading/pull.ts'
import { type BackendId, makeBackendId } from './store/backend-id.ts'
import { type Connection, makeConnection } from './store/connection.ts'
import { makePinger } from './store/pinger.ts'
import { makeProblems, type Problems } from './store/problem.ts'
import { makePusher, type Push } from './writing/push.ts'

/**
 * LiveStore's sync backend on Durable Streams: on a Headwater Worker, on the streams themselves, or on both.
 *
 * @example
 * ```ts
 * makeAdapter({ storage, sync: { backend: makeSyncBackend({ url: 'https://sync.example.com' }) } })
 * makeSyncBackend({ mode: 'direct', upstream: { url: 'https://streams.example.com/v1/stream' } })
 * ```
 */
// Only this file, reading/cursor.ts and options.ts know Effect.
export const makeSyncBackend =
  (options: SyncBackendOptions): SyncBackend.SyncBackendConstructor<SyncMetadata> =>
  ({ storeId, payload }) =>
    Effect.gen(function* () {
      const settings = resolveSettings(options)
      const route = yield* Effect.tryPromise({
        try: () => makeRoute(options, settings, { storeId, payload }),
        catch: (cause) => new UnknownError({ cause, note: String(cause) }),
      })
      const closed = new AbortController()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          closed.abort()
          route.source.socket?.close()
        }),
      )

      const runtime = yield* Effect.runtime<never>()
      const isConnected = yield* SubscriptionRef.make(false)
      const connection = makeConnection(
        (connected) => void Runtime.runFork(runtime)(SubscriptionRef.set(isConnected, connected)),
      )
      const { push, pull, ping } = openStore({
        route,
        settings,
        connection,
        problems: makeProblems(options.onProblem),
        backendId: makeBackendId(yield* idStorage(runtime), route.source.askBackendId),
        closed: closed.signal,
      })

      /** LiveStore learns of the connection before it receives the item. */
      const isConnectedNow = Effect.suspend(() => setIfOther(isConnected, connection.isUp()))

      // LiveStore's CLI connects its backend in an uninterruptible region. The ping must be interruptible there, too.
      const pingEffect = Effect.tryPromise({ try: ping, catch: toPingError }).pipe(
        Effect.ensuring(isConnectedNow),
        Effect.interruptible,
      )

      return SyncBackend.of<SyncMetadata>({
        connect: Effect.catchTag(pingEffect, 'TimeoutException', (cause) => new IsOfflineError({ cause })),
        pull: (cursor, pullOptions) =>
          streamOf(() => pull(startOf(cursor), pullOptions?.live === true), isConnectedNow),
        push: (batch) =>
          Effect.tryPromise({ try: (signal) => push(batch, signal), catch: (error) => error as SyncError }),
        ping: pingEffect,
        isConnected,
        metadata: {
          name: 'livestore-sync-durable-streams',
          description: 'LiveStore sync through Durable Streams',
          protocol: 'http',
          url: route.source.url,
        },
        supports: { pullPageInfoKnown: route.source.directLog === undefined, pullLive: true },
      })
    })

interface StoreDeps {
  readonly route: Route
  readonly settings: Settings
  readonly connection: Connection
  readonly problems: Problems
  readonly backendId: BackendId
  /** Aborted when the backend is closed. */
  readonly closed: AbortSignal
}

/** One store's pushes, pulls and pings, which tell each other what they learn. */
const openStore = ({ route, settings, connection, problems, backendId, closed }: StoreDeps) => {
  const livePulls = new Set<LivePull>()

  const { pingOnce, pingWhileIdle } = makePinger({ ping: route.ping, settings, connection, problems })
  if (settings.pingEnabled) void pingWhileIdle(closed)

  const { push, pulled } = makePusher({
    limits: settings,
    backoffLimits: settings,
    writer: route.makeWriter(backendId),
    connection,
    problems,
    onServerAhead: (head) => livePulls.forEach((pull) => pull.catchUpTo(head)),
    onAnswered: () => livePulls.forEach((pull) => pull.wake()),
    closed,
  })

  const pullDeps: PullDeps = {
    source: route.source,
    backendId,
    connection,
    problems,
    settings,
    livePulls,
    onPulled: pulled,
    failureCount: { current: 0 },
  }

  const hurryingPush: Push = (batch, signal) => {
    livePulls.forEach((pull) => pull.hurry())
    return push(batch, signal)
  }

  return {
    push: hurryingPush,
    pull: (start: Start, isLive: boolean): Puller => openPull(pullDeps, start, isLive),
    ping: pingOnce,
  }
}

/** The items of one pull. `beforeItem` runs before each of them. */
const streamOf = (open: () => Puller, beforeItem: Effect.Effect<void>) =>
  Stream.unwrapScoped(
    Effect.map(
      Effect.acquireRelease(Effect.sync(open), ({ close }) => Effect.sync(close)),
      ({ next }) =>
        Stream.repeatEffectOption(
          Effect.tryPromise({ try: next, catch: (error) => Option.some(error as PullError) }).pipe(
            Effect.flatMap((item) =>
              item === undefined ? Effect.fail(Option.none()) : Effect.succeed(toPullResItem(item)),
            ),
            Effect.zipLeft(beforeItem),
          ),
        ),
    ),
  )

const idStorage = (runtime: Runtime.Runtime<never>) =>
  Effect.map(SyncBackend.makeBackendIdHelper, ({ get, lazySet }) => ({
    get: () => Option.getOrUndefined(get()),
    set: (id: string) => Runtime.runPromise(runtime)(lazySet(id)),
  }))

const setIfOther = (ref: SubscriptionRef.SubscriptionRef<boolean>, value: boolean): Effect.Effect<void> =>
  Effect.flatMap(SubscriptionRef.get(ref), (current) =>
    current === value ? Effect.void : SubscriptionRef.set(ref, value),
  )

const toPingError = (cause: unknown): IsOfflineError | UnknownError | Cause.TimeoutException => {
  const failure = isHttpFailure(cause) ? cause : new TransportError(String(cause), { cause })
  return failure._tag === 'TransportError' && failure.timedOut
    ? new Cause.TimeoutException(failure.message)
    : toSyncError(failure)
}
