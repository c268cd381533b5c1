import { IsOfflineError, SyncBackend, type ServerAheadError, UnknownError } from '@livestore/common'
import { Cause, Effect } from 'effect'

import { makeBackendId } from './backend-id.ts'
import { makeConnection, pingWhileIdle } from './connection.ts'
import { toSyncError } from './errors.ts'
import { resolveSettings, type SyncBackendOptions } from './options.ts'
import type { SyncMetadata } from './page.ts'
import { type LivePull, makePull } from './pull.ts'
import { makePush } from './push.ts'
import { makeRoute } from './route.ts'

/**
 * LiveStore's sync backend on Durable Streams: on a Headwater Worker, on the streams themselves, or on both.
 *
 * @example
 * ```ts
 * makeAdapter({ storage, sync: { backend: makeSyncBackend({ url: 'https://sync.example.com' }) } })
 * makeSyncBackend({ mode: 'direct', upstream: { url: 'https://streams.example.com/v1/stream' } })
 * ```
 */
export const makeSyncBackend =
  (options: SyncBackendOptions): SyncBackend.SyncBackendConstructor<SyncMetadata> =>
  ({ storeId, payload }) =>
    Effect.gen(function* () {
      const settings = resolveSettings(options)
      const route = yield* Effect.tryPromise({
        try: () => makeRoute(options, settings, { storeId, payload }),
        catch: (cause) => new UnknownError({ cause, note: String(cause) }),
      })
      const backendId = yield* makeBackendId(route.askBackendId)
      const connection = yield* makeConnection
      const livePulls = new Set<LivePull>()

      const ping = route.ping.pipe(
        Effect.mapError((failure) =>
          failure._tag === 'TransportError' && failure.timedOut
            ? new Cause.TimeoutException(failure.message)
            : toSyncError(failure),
        ),
        Effect.tapBoth({
          onSuccess: () => connection.observed(true),
          onFailure: () => connection.observed(false),
        }),
        Effect.asVoid,
      )
      if (settings.pingEnabled) yield* Effect.forkScoped(pingWhileIdle(connection, ping, settings.pingInterval))

      /**
       * LiveStore parks its pushing until a pull brings what it misses (LeaderSyncProcessor.ts, `Effect.never`), so a
       * live pull that has died without a word must not be waited for.
       */
      const onServerAhead = ({ minimumExpectedNum }: ServerAheadError) =>
        Effect.forEach([...livePulls], (pull) => pull.catchUpTo(minimumExpectedNum - 1), { discard: true })

      return SyncBackend.of<SyncMetadata>({
        connect: ping.pipe(Effect.catchTag('TimeoutException', (cause) => new IsOfflineError({ cause }))),
        pull: makePull({
          source: route.source,
          backendId,
          connection,
          settings,
          livePulls,
          pace: { failures: 0 },
        }),
        push: makePush({ limits: settings, send: route.makeSend(backendId), onServerAhead }),
        ping,
        isConnected: connection.isConnected,
        metadata: {
          name: 'livestore-sync-durable-streams',
          description: 'LiveStore sync through Durable Streams',
          protocol: 'http',
          url: route.source.url,
        },
        supports: { pullPageInfoKnown: route.source.bare === undefined, pullLive: true },
      })
    })
