export { type CountingProxy, type Fault, type RecordedRequest, type RequestFilter, startCountingProxy } from './counting-proxy.ts'
export { type Server, startNodeUpstream, startRustUpstream, startWorker } from './servers.ts'
export { freePort } from '../../scripts/lib/ports.mjs'
