// The protocol's own suite, against the Worker on one upstream.
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { configureGlobal } from 'fast-check'
import { afterAll, beforeAll, describe } from 'vitest'
import { type Listening, type Server, startWorker } from '../harness/index.ts'
import { type Addressing, startProxy } from './proxy.ts'

/** The list of tests that do not apply is for this one. */
const ADDRESSING: Addressing = 'incarnation'

type StartUpstream = (options: { longPollTimeoutMs: number }) => Promise<Server>

/** Without `startUpstream`, the log is built in. */
export function runSuite(upstreamName: string, startUpstream?: StartUpstream): void {
  // The properties try more inputs where the machine is fast. One that does not apply stops at its first failure
  configureGlobal({ interruptAfterTimeLimit: 10_000, endOnFailure: true })
  describe(upstreamName, () => {
    const options = { baseUrl: '' }
    const running: Pick<Listening, 'stop'>[] = []
    beforeAll(async () => {
      // Some tests wait for the end of a long-poll. Others need the time to append during one
      const upstream = await startUpstream?.({ longPollTimeoutMs: 3_000 })
      if (upstream !== undefined) running.push(upstream)
      const worker = await startWorker({
        upstreamUrl: upstream?.url ?? '',
        vars: { ALLOWED_ORIGINS: 'https://example.com' },
      })
      running.push(worker)
      const proxy = await startProxy(worker.url, ADDRESSING)
      running.push(proxy)
      options.baseUrl = proxy.url
    })
    afterAll(async () => {
      for (const part of running.reverse()) await part.stop()
    })
    runConformanceTests(options)
  })
}
