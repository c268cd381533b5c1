import { makePersistedAdapter } from '@livestore/adapter-web'
import LiveStoreSharedWorker from '@livestore/adapter-web/shared-worker?sharedworker'
import { type BootStatus, makeShutdownDeferred, type Store, storeOptions } from '@livestore/livestore'
import { useStore } from '@livestore/react'
import { Deferred, Effect } from '@livestore/utils/effect'
import { unstable_batchedUpdates as batchUpdates } from 'react-dom'
import LiveStoreWorker from './livestore.worker.ts?worker'
import { workerName } from './offline-switch.ts'
import { schema } from './schema.ts'
import { storeId } from './store-id.ts'
import { makeValue } from './value.ts'

export type TodoStore = Store<typeof schema>

/** How far LiveStore has come before the store can be shown. */
export const bootStatus = makeValue<BootStatus>({ stage: 'loading' })

const shutdown = Effect.runSync(makeShutdownDeferred)

const options = storeOptions({
  schema,
  storeId,
  adapter: makePersistedAdapter({
    storage: { type: 'opfs' },
    worker: ({ name }) => new LiveStoreWorker({ name: workerName(name) }),
    sharedWorker: LiveStoreSharedWorker,
  }),
  batchUpdates,
  onBootStatus: bootStatus.set,
  shutdownDeferred: shutdown,
})

export const useTodoStore = () => useStore(options)

const STARTED_OVER = 'started-over'

/**
 * When the log on the server is another one than before (it was reset), LiveStore clears what this browser has and ends
 * the store; a new one then follows the new log. Whoever wants to keep what was not sent yet chooses another
 * `onBackendIdMismatch` in the worker.
 */
Effect.runPromise(Deferred.await(shutdown)).then(({ reason }) => {
  if (reason !== 'backend-id-mismatch') return
  sessionStorage.setItem(STARTED_OVER, storeId)
  location.reload()
}, console.error)

/** Whether that has just happened. */
export const startedOver = makeValue(sessionStorage.getItem(STARTED_OVER) === storeId)
sessionStorage.removeItem(STARTED_OVER)
