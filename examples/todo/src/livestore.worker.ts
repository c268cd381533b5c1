// LiveStore's leader. A browser has one. It keeps the log and the database, and only it talks to the sync backend.
import { makeWorker } from '@livestore/adapter-web/worker'
import { makeSyncBackend } from 'livestore-sync-durable-streams'
import { reportRemaining } from './catch-up.ts'
import { SwitchableWebSocket, switchableFetch } from './offline-network.ts'
import { reportProblems } from './problem.ts'
import { schema } from './schema.ts'

const syncBackend: ReturnType<typeof makeSyncBackend> = (args) =>
  makeSyncBackend({
    url: import.meta.env.VITE_SYNC_URL ?? 'http://127.0.0.1:8787',
    tenant: 'todo',
    fetch: switchableFetch,
    WebSocket: SwitchableWebSocket,
    retry: { maxDelay: '2 seconds' }, // short, because a user is watching
    onProblem: reportProblems(args.storeId),
  })(args)

// Without `onSyncError: 'shutdown'`, a pull that fails for good, such as at a broken chain, would fail silently.
makeWorker({ schema, sync: { backend: reportRemaining(syncBackend), onSyncError: 'shutdown' } })
