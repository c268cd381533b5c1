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
export { SyncMetadata } from './cursor.ts'
export type { Problem, ProblemKind } from './problem.ts'
export { makeSyncBackend } from './sync-backend.ts'
