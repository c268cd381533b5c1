import { IsOfflineError, SyncBackend, type ServerAheadError, UnknownError } from '@livestore/common'
import { Cause, Effect } from 'effect'

import { makeBackendId } from './backend-id.ts'
import { makeConnection, pingWhileIdle } from './connection.ts'
import { toSyncError } from './errors.ts'
import { proxyEndpoints, resolveSettings, type SyncBackendOptions } from './options.ts'
import type { SyncMetadata } from './page.ts'
import { type LivePull, makePull } from './pull.ts'
import { makePush } from './push.ts'
import { authTokenOf, makeTransport } from './transport.ts'

/**
 * LiveStore's sync backend on a Headwater Worker.
 *
 * @example
 * ```ts
 * makeAdapter({ storage, sync: { backend: makeSyncBackend({ url: 'https://sync.example.com' }) } })
 * ```
 */
export const makeSyncBackend =
  (options: SyncBackendOptions): SyncBackend.SyncBackendConstructor<SyncMetadata> =>
  ({ storeId, payload }) =>
    Effect.gen(function* () {
      const settings = resolveSettings(options)
      const endpoints = yield* Effect.try({
        try: () => proxyEndpoints(options, storeId),
        catch: (cause) => new UnknownError({ cause, note: String(cause) }),
      })
      const transport = makeTransport({
        fetch: options.fetch,
        headers: options.headers,
        authToken: authTokenOf(payload),
      })
      const backendId = yield* makeBackendId(transport, endpoints.read, settings.pushTimeout)
      const connection = yield* makeConnection
      const livePulls = new Set<LivePull>()

      const ping = transport.request(endpoints.health, { method: 'GET' }, settings.pingTimeout).pipe(
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
          url: endpoints.read,
          transport,
          backendId,
          connection,
          settings,
          livePulls,
          pace: { failures: 0 },
        }),
        push: makePush({
          url: endpoints.write,
          transport,
          backendId,
          limits: settings,
          timeoutMs: settings.pushTimeout,
          onServerAhead,
        }),
        ping,
        isConnected: connection.isConnected,
        metadata: {
          name: 'livestore-sync-durable-streams',
          description: 'LiveStore sync through Durable Streams',
          protocol: 'http',
          url: endpoints.read,
        },
        supports: { pullPageInfoKnown: true, pullLive: true },
      })
    })
