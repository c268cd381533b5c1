export { freePort } from '../../scripts/lib/ports.mjs'
export { type BufferingProxy, startBufferingProxy } from './buffering-proxy.ts'
export { build } from './build.ts'
export { type CountingProxy, type RequestFilter, startCountingProxy } from './counting-proxy.ts'
export type { Answer, Fault, RecordedRequest } from './exchange.ts'
export { makeFolder, removeFolder } from './folder.ts'
export { type Listening, listen } from './listen.ts'
export {
  noUpstream,
  type Server,
  startNodeUpstream,
  startRustUpstream,
  startWorker,
  startWranglerDev,
  whileDown,
} from './servers.ts'
export { answerOf, answers, makeStranger, type Says, type Stranger, type Visit } from './stranger.ts'
