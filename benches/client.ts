// A client of a system. Like LiveStore's leader, it uses only the interface `SyncBackend`.
import type { SyncBackend } from '@livestore/common'
import {
  Cause,
  Effect,
  Exit,
  FetchHttpClient,
  KeyValueStore,
  Layer,
  ManagedRuntime,
  Option,
  Scope,
  Stream,
} from '@livestore/utils/effect'
import { makeSyncBackend as headwater } from '../client/src/index.ts'
import type { Event } from './events.ts'
import { makeFloor } from './floor.ts'
import type { Endpoint, Metadata } from './systems/model.ts'

type Backend = SyncBackend.SyncBackend<Metadata>
type Item = SyncBackend.PullResItem<Metadata>

export type Pushed =
  | { readonly _tag: 'accepted' }
  /** Stopped by the caller. */
  | { readonly _tag: 'interrupted' }
  /** `ServerAheadError`. */
  | { readonly _tag: 'refused' }
  /** Any other error. No scenario expects one. */
  | { readonly _tag: 'failed'; readonly reason: string }

export interface Client {
  push(batch: readonly Event[], signal?: AbortSignal): Promise<Pushed>
  /** Reads up to the head, and ends there. With `live`, it follows the store until it is stopped. */
  pull(onEvents: (events: readonly Event[], item: Item) => void, options?: { live?: boolean }): Pull
  close(): Promise<void>
}

export interface Pull {
  /** The error that ended the pull; undefined if it was stopped, or reached the head. */
  readonly ended: Promise<string | undefined>
  stop(): Promise<void>
}

/** Opens a client on a device of its own. `fetch` sees the requests of Headwater's provider. */
export async function open(endpoint: Endpoint, storeId: string, fetch?: typeof globalThis.fetch): Promise<Client> {
  const scope = Effect.runSync(Scope.make())
  const runtime = ManagedRuntime.make(Layer.mergeAll(FetchHttpClient.layer, KeyValueStore.layerMemory))
  const make = await constructorOf(endpoint, fetch)
  const backend: Backend = await runtime.runPromise(
    Scope.extend(make({ storeId, clientId: 'bench-client', payload: undefined }), scope),
  )
  await runtime.runPromise(Scope.extend(backend.connect, scope))
  return {
    async push(batch, signal) {
      const exit = await runtime.runPromiseExit(backend.push(batch), signal === undefined ? {} : { signal })
      if (Exit.isSuccess(exit)) return { _tag: 'accepted' }
      return Cause.isInterruptedOnly(exit.cause) ? { _tag: 'interrupted' } : failureOf(exit.cause)
    },
    pull(onEvents, { live = false } = {}) {
      const abort = new AbortController()
      const ended = runtime
        .runPromiseExit(
          backend.pull(Option.none(), { live }).pipe(
            Stream.runForEach((item) =>
              Effect.sync(() =>
                onEvents(
                  item.batch.map(({ eventEncoded }) => eventEncoded),
                  item,
                ),
              ),
            ),
          ),
          { signal: abort.signal },
        )
        .then((exit) =>
          Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause) ? undefined : describe(exit.cause),
        )
      return {
        ended,
        async stop() {
          abort.abort()
          await ended
        },
      }
    },
    async close() {
      await runtime.runPromise(Scope.close(scope, Exit.void))
      await runtime.dispose()
    },
  }
}

async function constructorOf(
  { system, workerUrl, upstreamUrl }: Endpoint,
  fetch: typeof globalThis.fetch | undefined,
): Promise<SyncBackend.SyncBackendConstructor<Metadata>> {
  const common = fetch === undefined ? {} : { fetch }
  switch (system) {
    case 'headwater':
    case 'headwater-built-in':
      return headwater({ url: workerUrl, ...common })
    case 'headwater-hybrid':
      return headwater({ mode: 'hybrid', url: workerUrl, upstream: { url: upstreamUrl }, ...common })
    case 'headwater-direct':
      return headwater({ mode: 'direct', upstream: { url: upstreamUrl }, ...common })
    case 'sync-cf-ws':
      return (await import('@livestore/sync-cf/client')).makeWsSync({ url: workerUrl.replace('http', 'ws') })
    case 'sync-cf-http':
      return (await import('@livestore/sync-cf/client')).makeHttpSync({ url: workerUrl })
    case 'sync-s2':
      return (await import('@livestore/sync-s2')).makeSyncBackend({ endpoint: workerUrl })
    case 'floor':
      return makeFloor(upstreamUrl)
  }
}

const failureOf = (cause: Cause.Cause<{ readonly _tag: string }>): Pushed => {
  const refused = Option.exists(Cause.failureOption(cause), ({ _tag }) => _tag === 'ServerAheadError')
  return refused ? { _tag: 'refused' } : { _tag: 'failed', reason: describe(cause) }
}

const describe = (cause: Cause.Cause<unknown>): string => Cause.pretty(cause).replace(/\s+/g, ' ').slice(0, 300)
