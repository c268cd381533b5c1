// LiveStore's leader, one a browser: it keeps the log and the database, and it alone talks to the sync backend.
import { makeWorker } from '@livestore/adapter-web/worker'
import { makeSyncBackend } from 'livestore-sync-durable-streams'
import { tellingRemaining } from './catch-up.ts'
import { switchableFetch } from './offline-fetch.ts'
import { tellingProblems } from './problem.ts'
import { schema } from './schema.ts'

const syncBackend: ReturnType<typeof makeSyncBackend> = (args) =>
  makeSyncBackend({
    url: import.meta.env.VITE_SYNC_URL ?? 'http://127.0.0.1:8787',
    tenant: 'todo',
    fetch: switchableFetch,
    retry: { maxDelay: '2 seconds' }, // somebody is watching
    onProblem: tellingProblems(args.storeId),
  })(args)

// Without it, a pull that ends for good (a log that is no chain) would end without a word.
makeWorker({ schema, sync: { backend: tellingRemaining(syncBackend), onSyncError: 'shutdown' } })
