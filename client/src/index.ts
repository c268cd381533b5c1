export type {
  CommonOptions,
  DirectOptions,
  HeadersFunction,
  HeadersInput,
  HybridOptions,
  LiveMode,
  ProxyOptions,
  SyncBackendOptions,
  UpstreamOptions,
} from './options.ts'
export { SyncMetadata } from './page.ts'
export { makeSyncBackend } from './sync-backend.ts'
