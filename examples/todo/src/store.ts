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

/** How many events the server has that have not arrived here yet. */
export const remaining = makeValue(0)
onRemaining(storeId, remaining.set)

/** What keeps the store from syncing, if anything does. */
export const problem = makeValue<Problem | undefined>(undefined)
onProblem(storeId, problem.set)

/** What the browser can't do, if anything: a private window may keep nothing. */
export const warning = makeValue<string | undefined>(undefined)

/** Why the store has stopped, if the server refuses it for good. */
export const stopped = makeValue<unknown>(undefined)

/** Opens the page anew. */
export const reopen = (because: 'reset' | 'failed') => {
  sessionStorage.setItem(REOPENED, because)
  location.reload()
}
const REOPENED = 'reopened'
const reopened = sessionStorage.getItem(REOPENED)
sessionStorage.removeItem(REOPENED)

/** The list has just been loaded anew, because it was reset on the server. */
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

/** Loads the store. `useStore` alone would do that, too, but React's development build complains of how it suspends. */
export const ready = storeRegistry.preload(options)

export const useTodoStore = () => useStore(options)

/**
 * When the log on the server is another one than before (it was reset), LiveStore clears what this browser has, what it
 * had not sent included, and ends the store; a new one follows the new log. An app that wants to save something first
 * chooses another `onBackendIdMismatch` in the worker.
 */
Effect.runPromise(Effect.either(Deferred.await(shutdown))).then((end) => {
  if (Either.isLeft(end)) stopped.set('note' in end.left ? end.left.note : end.left)
  else if (end.right.reason === 'backend-id-mismatch') reopen('reset')
}, stopped.set)
