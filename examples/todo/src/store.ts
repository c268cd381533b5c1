import { makePersistedAdapter } from '@livestore/adapter-web'
import LiveStoreSharedWorker from '@livestore/adapter-web/shared-worker?sharedworker'
import { makeShutdownDeferred, type Store, StoreRegistry, storeOptions } from '@livestore/livestore'
import { useStore } from '@livestore/react'
import { Deferred, Effect, Either } from '@livestore/utils/effect'
import type { Problem } from 'livestore-sync-durable-streams'
import { unstable_batchedUpdates as batchUpdates } from 'react-dom'
import { onRemaining } from './catch-up.ts'
import LiveStoreWorker from './livestore.worker.ts?worker'
import { workerName } from './offline-switch.ts'
import { onProblem } from './problem.ts'
import { schema } from './schema.ts'
import { storeId } from './store-id.ts'
import { makeValue } from './value.ts'

export type TodoStore = Store<typeof schema>

/** The number of events that the server has and that have not arrived here yet. */
export const remaining = makeValue(0)
onRemaining(storeId, remaining.set)

/** The problem that keeps the store from syncing, if there is one. */
export const problem = makeValue<Problem | undefined>(undefined)
onProblem(storeId, problem.set)

/** A warning about the browser, if there is one. For example, a private window may not keep data. */
export const warning = makeValue<string | undefined>(undefined)

/** The reason why the store has stopped: the server refuses it for good. */
export const stopped = makeValue<unknown>(undefined)

/** Reloads the page. The reason survives the reload. */
export const reopen = (because: 'reset' | 'failed') => {
  sessionStorage.setItem(REOPENED, because)
  location.reload()
}
const REOPENED = 'reopened'
const reopened = sessionStorage.getItem(REOPENED)
sessionStorage.removeItem(REOPENED)

/** Whether the page was reloaded because the list was reset on the server. */
export const wasReset = makeValue(reopened === 'reset')

const shutdown = Effect.runSync(makeShutdownDeferred)

const authToken: string | undefined = import.meta.env.VITE_AUTH_TOKEN

const options = storeOptions({
  schema,
  storeId,
  adapter: makePersistedAdapter({
    storage: { type: 'opfs' },
    worker: ({ name }) => new LiveStoreWorker({ name: workerName(name) }),
    sharedWorker: LiveStoreSharedWorker,
    // LiveStore 0.4.0 empties its database for a reset, and then fails if a window reads it before the leader has.
    experimental: { disableFastPath: reopened !== null },
  }),
  batchUpdates,
  onBootStatus: (status) => status.stage === 'warning' && warning.set(status.message),
  shutdownDeferred: shutdown,
  ...(authToken === undefined ? {} : { syncPayload: { authToken } }),
})

export const storeRegistry = new StoreRegistry()

/** Loads the store. `useStore` alone would load it, too, but React's development build warns about how it suspends. */
export const ready = storeRegistry.preload(options)

export const useTodoStore = () => useStore(options)

/**
 * When the log on the server was reset, LiveStore clears this browser's data, unsent events included, and ends the store.
 * A new store follows the new log. An app that wants to save something first sets another `onBackendIdMismatch` in the
 * worker.
 */
Effect.runPromise(Effect.either(Deferred.await(shutdown))).then((end) => {
  if (Either.isLeft(end)) stopped.set('note' in end.left ? end.left.note : end.left)
  else if (end.right.reason === 'backend-id-mismatch') reopen('reset')
}, stopped.set)
