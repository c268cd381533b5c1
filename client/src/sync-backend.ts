import { IsOfflineError, SyncBackend, UnknownError } from '@livestore/common'
import { Cause, Effect, Option, Runtime, Stream, SubscriptionRef } from 'effect'

import { isHttpFailure, type SyncError, TransportError, toSyncError } from './http/errors.ts'
import { sleep } from './http/transport.ts'
import { makeRoute } from './modes/make-route.ts'
import { resolveSettings, type SyncBackendOptions } from './options.ts'
import { type SyncMetadata, startOf, toPullResItem } from './reading/cursor.ts'
import { type LivePull, openPull, type PullDeps, type PullError } from './reading/pull.ts'
import { makeBackendId } from './store/backend-id.ts'
import { makeConnection } from './store/connection.ts'
import { makeProblems, problemOf } from './store/problem.ts'
import { makePusher } from './writing/push.ts'

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
      yield* Effect.addFinalizer(() => Effect.sync(() => closed.abort()))

      const runtime = yield* Effect.runtime<never>()
      const isConnected = yield* SubscriptionRef.make(false)
      const connection = makeConnection(
        (connected) => void Runtime.runFork(runtime)(SubscriptionRef.set(isConnected, connected)),
      )
      const problems = makeProblems(options.onProblem)
      const backendId = makeBackendId(yield* idStorage(runtime), route.source.askBackendId)
      const livePulls = new Set<LivePull>()

      const pingOnce = async (signal?: AbortSignal) => {
        try {
          await route.ping(settings.pingTimeoutMs, signal)
          connection.observed(true)
          if (!connection.hasLive()) problems.reading(undefined)
        } catch (cause) {
          connection.observed(false)
          if (!connection.hasLive() && isHttpFailure(cause)) problems.reading(problemOf(cause, settings.pingIntervalMs))
          throw cause
        }
      }
      /** Keeps `isConnected` up to date while the provider makes no other request. */
      const pingWhileIdle = async () => {
        for (;;) {
          await sleep(settings.pingIntervalMs, closed.signal)
          if (closed.signal.aborted) return
          if (!connection.hasLive()) await pingOnce(closed.signal).catch(() => {})
        }
      }
      if (settings.pingEnabled) void pingWhileIdle()

      const { push, pulled } = makePusher({
        limits: settings,
        backoffLimits: settings,
        writer: route.makeWriter(backendId),
        connection,
        problems,
        onServerAhead: (head) => livePulls.forEach((pull) => pull.catchUpTo(head)),
        onAnswered: () => livePulls.forEach((pull) => pull.wake()),
        closed: closed.signal,
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
      /** LiveStore learns of the connection before it receives the item. */
      const isConnectedNow = Effect.suspend(() => setIfOther(isConnected, connection.isUp()))

      const pull: SyncBackend.SyncBackend<SyncMetadata>['pull'] = (cursor, pullOptions) =>
        Stream.unwrapScoped(
          Effect.map(
            Effect.acquireRelease(
              Effect.sync(() => openPull(pullDeps, startOf(cursor), pullOptions?.live === true)),
              ({ close }) => Effect.sync(close),
            ),
            ({ next }) =>
              Stream.repeatEffectOption(
                Effect.tryPromise({ try: next, catch: (error) => Option.some(error as PullError) }).pipe(
                  Effect.flatMap((item) =>
                    item === undefined ? Effect.fail(Option.none()) : Effect.succeed(toPullResItem(item)),
                  ),
                  Effect.zipLeft(isConnectedNow),
                ),
              ),
          ),
        )

      // LiveStore's CLI connects its backend in an uninterruptible region. The ping must be interruptible there, too.
      const ping = Effect.tryPromise({ try: pingOnce, catch: toPingError }).pipe(
        Effect.ensuring(isConnectedNow),
        Effect.interruptible,
      )

      return SyncBackend.of<SyncMetadata>({
        connect: Effect.catchTag(ping, 'TimeoutException', (cause) => new IsOfflineError({ cause })),
        pull,
        push: (batch) =>
          Effect.tryPromise({
            try: (signal) => {
              livePulls.forEach((pull) => pull.hurry())
              return push(batch, signal)
            },
            catch: (error) => error as SyncError,
          }),
        ping,
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
