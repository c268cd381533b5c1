export type { HeadersFunction, HeadersInput } from './http/transport.ts'
export type {
  CommonOptions,
  DirectOptions,
  HybridOptions,
  ProxyOptions,
  SyncBackendOptions,
  UpstreamOptions,
} from './options.ts'
export { SyncMetadata } from './reading/cursor.ts'
export type { LiveMode } from './reading/live-mode.ts'
export type { Problem, ProblemKind } from './store/problem.ts'
export { makeSyncBackend } from './sync-backend.ts'
