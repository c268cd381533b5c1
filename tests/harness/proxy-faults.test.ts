// Each fault of `inject` and `next` on a real upstream: it happens, and the request is applied or not.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type CountingProxy, type Fault, type Server, startCountingProxy, startRustUpstream } from './index.ts'

let upstream: Server
let proxy: CountingProxy
let stream: string
let streams = 0

beforeAll(async () => {
  upstream = await startRustUpstream()
  proxy = await startCountingProxy(upstream.url)
})
afterAll(async () => {
  await proxy?.stop()
  await upstream?.stop()
})
beforeEach(async () => {
  proxy.inject()
  stream = `${proxy.url}/tenant/store-${++streams}`
  await fetch(stream, { method: 'PUT', headers: { 'content-type': 'application/json' } })
  proxy.clear()
})

const headers = { 'content-type': 'application/json' }
const append = (message: string, signal?: AbortSignal) =>
  fetch(stream, { method: 'POST', headers, body: JSON.stringify([message]), ...(signal ? { signal } : {}) })
const read = async () => (await fetch(`${stream}?offset=-1`)).json()

test('an answer with `applied` replaces the upstream’s after the upstream has applied the request', async () => {
  proxy.next({ method: 'POST' }, { status: 500, applied: true })
  expect((await append('a')).status).toBe(500)
  expect(await read()).toEqual(['a'])
})

test('a delayed request lands, though its client has left', async () => {
  const leaver = new AbortController()
  const { met } = proxy.next({ method: 'POST' }, { hold: 'request', ms: 300 })
  const left = append('a', leaver.signal)
  const held = await met
  leaver.abort()
  await expect(left).rejects.toThrow()
  expect(await read()).toEqual([])
  await proxy.settled()
  expect(held.status).toBeLessThan(300)
  expect(await read()).toEqual(['a'])
})

test('a delayed response arrives', async () => {
  proxy.next({ method: 'POST' }, { hold: 'response', ms: 100 })
  expect((await append('a')).ok).toBe(true)
})

test('a cut body ends with a reset, or too soon but cleanly', async () => {
  await append('a')
  for (const after of [0, 3, 1_000_000]) {
    proxy.next({ method: 'GET' }, { cutBody: 'reset', after })
    const reset = await fetch(`${stream}?offset=-1`)
    await expect(reset.text()).rejects.toThrow()
    proxy.next({ method: 'GET' }, { cutBody: 'end', after })
    const ended = await fetch(`${stream}?offset=-1`)
    expect(await ended.text()).toBe('["a"]'.slice(0, Math.min(after, 4)))
  }
})

test('a stream of events is cut once it is long enough', async () => {
  const { met } = proxy.next({ method: 'GET' }, { cutBody: 'end', after: 200 })
  const live = await fetch(`${stream}?offset=-1&live=sse`)
  await append('x'.repeat(500))
  expect(await live.text()).toHaveLength(200)
  await met
})

test('an abandoned request never lands, and its connection is cut', async () => {
  const live = await fetch(`${stream}?offset=-1&live=sse`)
  const { met } = proxy.next({ method: 'POST' }, { hold: 'request', ms: 60_000 })
  const cut = append('a')
  await met
  proxy.abandon()
  await expect(cut).rejects.toThrow()
  await expect(live.text()).rejects.toThrow()
  await proxy.settled()
  expect((await append('b')).ok).toBe(true)
  expect(await read()).toEqual(['b'])
})

test('injected faults meet the chosen requests, and are reported when they do', async () => {
  const bit: Fault[] = []
  proxy.inject(
    ({ method }) => (method === 'POST' ? 'drop request' : undefined),
    (fault) => bit.push(fault),
  )
  await expect(append('a')).rejects.toThrow()
  expect(await read()).toEqual([])
  proxy.inject()
  await append('b')
  expect(await read()).toEqual(['b'])
  expect(bit).toEqual(['drop request'])
})
