import type { Settings, SyncBackendOptions } from '../options.ts'
import type { Route, StoreArgs } from './route.ts'
import { workerRoute } from './worker.ts'

/** @throws an `Error` that says which name or URL cannot be used, and why */
export const makeRoute = async (options: SyncBackendOptions, settings: Settings, store: StoreArgs): Promise<Route> => {
  if (options.mode !== 'hybrid' && options.mode !== 'direct') return workerRoute(options, settings, store).route
  // A chunk of its own: an app in proxy mode does not load it.
  const { directLogRoute } = await import('./direct.ts')
  return directLogRoute(options, settings, store)
}
