// The leader in a thread of its own, as apps have it. Only there LiveStore 0.4.0's Node adapter reports the progress of the
// first sync.
import { getWorkerArgs, makeWorker } from '@livestore/adapter-node/worker'
import { makeSyncBackend, type SyncBackendOptions } from '../../client/src/index.ts'
import { schema } from './support.ts'

export interface LeaderArgs {
  readonly storeId: string
  readonly sync: SyncBackendOptions
}

const { storeId, sync } = getWorkerArgs().extraArgs as unknown as LeaderArgs

makeWorker({
  schema,
  sync: {
    backend: (device) => makeSyncBackend(sync)({ ...device, storeId }),
    initialSyncOptions: { _tag: 'Blocking', timeout: 30_000 },
  },
})
