export type { HeadersInput, LiveMode, SyncBackendOptions } from './options.ts'
export { SyncMetadata } from './page.ts'
export { makeSyncBackend } from './sync-backend.ts'
