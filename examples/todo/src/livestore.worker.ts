// LiveStore's leader, one a browser: it keeps the log and the database, and it alone talks to the sync backend.
import { makeWorker } from '@livestore/adapter-web/worker'
import { makeSyncBackend } from 'livestore-sync-durable-streams'
import { startsOffline, switchableFetch } from './offline-fetch.ts'
import { schema } from './schema.ts'

makeWorker({
  schema,
  sync: {
    backend: makeSyncBackend({
      url: import.meta.env.VITE_SYNC_URL ?? 'http://127.0.0.1:8787',
      tenant: 'todo',
      fetch: switchableFetch,
      retry: { maxDelay: '2 seconds' }, // somebody is watching
    }),
    // The leader waits for what is new, for so long at most, and tells how far it has come.
    initialSyncOptions: startsOffline ? { _tag: 'Skip' } : { _tag: 'Blocking', timeout: 5_000 },
  },
})
