// The inspector: what it tells of a store, and to whom.
import { request } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type CountingProxy, type Server, startCountingProxy, startRustUpstream, startWorker } from '../harness/index.ts'
import { chain, event, json, type Parts, Store } from './support.ts'
import { hmac, now, token } from './tokens.ts'

const SECRET = 'a secret of this test, long enough for its hash'

let upstream: Server
let proxy: CountingProxy
const parts = {} as Parts
beforeAll(async () => {
  upstream = await startRustUpstream()
  proxy = await startCountingProxy(upstream.url)
  Object.assign(parts, { upstream, proxy })
})
afterAll(async () => {
  await proxy?.stop()
  await upstream?.stop()
})
afterEach(async () => {
  proxy.setOnline(true)
  await parts.worker?.stop()
})

const deploy = async (vars: Record<string, string> = {}) => {
  parts.worker = await startWorker({ upstreamUrl: proxy.url, vars: { INSPECTOR: 'on', LOG_REQUESTS: 'none', ...vars } })
}
const address = (store: Store) => `${parts.worker.url}/inspect/api/${store.tenant}/${store.name}`

interface Batch {
  first: number
  last: number
  events: number
  bytes: number
}
interface Tally {
  since: number
  counts: [outcome: string, count: number][]
  recent: { at: number; ms: number; batch: Batch | null; outcome: string; detail: string | null }[]
}
interface Inspected {
  store: {
    state: string
    detail: string | null
    tip: { backend_id: string; head: number; offset: string; events: number; bytes: number } | null
    segments: { from: string; end: string; last: number; events: number; bytes: number }[]
    sealed: number
    pushes: Tally
  }
  cached: boolean[]
  age: number | null
  head: number | null
  refused: Tally | null
}

const inspect = async (store: Store): Promise<Inspected> => {
  const response = await fetch(address(store))
  expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store'])
  return json<Inspected>(response)
}

describe('a store', () => {
  it('dump', async () => {
    await deploy({ SEGMENT_EVENTS: '10' })
    const store = new Store(parts)
    await store.pushed(chain(0, 10))
    await store.pushed(chain(10, 10))
    await store.pushed(chain(20, 3))
    await store.push(chain(0, 3))
    await store.push('{')
    await store.read()
    console.log(JSON.stringify(await inspect(store), null, 1))
    const r = await fetch(parts.worker.url + '/inspect')
    console.log(r.status, [...r.headers], await r.text())
    console.log(await (await fetch(parts.worker.url + '/inspect/api')).text())
  })
})
