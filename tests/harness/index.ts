export { type CountingProxy, type RequestFilter, startCountingProxy } from './counting-proxy.ts'
export type { Fault, RecordedRequest } from './exchange.ts'
export { type Server, startNodeUpstream, startRustUpstream, startWorker } from './servers.ts'
export { freePort } from '../../scripts/lib/ports.mjs'
