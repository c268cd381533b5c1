// The parts of a wire test: the Worker on workerd before a real upstream, with a counting proxy between them.
import { afterAll, afterEach, beforeAll } from 'vitest'
import {
  type CountingProxy,
  noUpstream,
  type Server,
  startCountingProxy,
  startRustUpstream,
  startWorker,
} from '../harness/index.ts'

export { logs, upstreams } from '../support/logs.ts'

export interface Parts {
  /** {@link noUpstream} if the log is built in. */
  upstream: Server
  /** Between the Worker and the upstream. */
  proxy: CountingProxy
  worker: Server
}

/** Starts the parts before the tests of this file or block, and stops them after. */
export function useParts(
  startUpstream: () => Promise<Server> = startRustUpstream,
  vars: Record<string, string> = {},
  variant?: string,
): Parts {
  const parts = {} as Parts
  beforeAll(async () => {
    parts.upstream = await startUpstream()
    const isBuiltIn = parts.upstream === noUpstream
    if (!isBuiltIn) parts.proxy = await startCountingProxy(parts.upstream.url)
    parts.worker = await startWorker({
      upstreamUrl: isBuiltIn ? '' : parts.proxy.url,
      vars,
      ...(variant === undefined ? {} : { variant }),
    })
  })
  afterAll(async () => {
    await parts.worker?.stop()
    await parts.proxy?.stop()
    await parts.upstream?.stop()
  })
  return parts
}

/**
 * The upstream and the proxy for the tests of this file. Each test deploys the Worker that it wants. After each test the proxy is
 * online again.
 */
export function useDeployments() {
  const parts = {} as Parts
  beforeAll(async () => {
    parts.upstream = await startRustUpstream()
    parts.proxy = await startCountingProxy(parts.upstream.url)
  })
  afterEach(async () => {
    parts.proxy.setOnline(true)
    await parts.worker?.stop()
  })
  afterAll(async () => {
    await parts.proxy?.stop()
    await parts.upstream?.stop()
  })
  const deploy = async (vars: Record<string, string> = {}, options: { cache?: boolean; analytics?: boolean } = {}) => {
    parts.worker = await startWorker({ upstreamUrl: parts.proxy.url, vars, ...options })
  }
  return { parts, deploy }
}
