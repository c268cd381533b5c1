// LiveStore's own Cloudflare backend, set up as its documentation does: the Durable Object with its defaults.
import { makeDurableObject, makeWorker } from '@livestore/sync-cf/cf-worker'

export class SyncBackendDO extends makeDurableObject() {}

export default makeWorker({ syncBackendBinding: 'SYNC_BACKEND_DO' })
