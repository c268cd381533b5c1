// The harness itself on the real upstreams: its counts, cuts, kills and restarts.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { chain, Store } from '../support/store.ts'
import {
  type CountingProxy,
  type Server,
  startCountingProxy,
  startNodeUpstream,
  startRustUpstream,
  startWorker,
  startWranglerDev,
} from './index.ts'

const upstreams = { rust: startRustUpstream, node: startNodeUpstream }

describe.each(Object.entries(upstreams))('%s upstream behind the proxy', (_, start) => {
  let upstream: Server
  let proxy: CountingProxy
  let stream: string
  let streams = 0

  beforeAll(async () => {
    upstream = await start()
    proxy = await startCountingProxy(upstream.url)
  })
  afterAll(async () => {
    await proxy?.stop()
    await upstream?.stop()
  })
  beforeEach(async () => {
    stream = `${proxy.url}/tenant/store-${++streams}`
    await fetch(stream, { method: 'PUT', headers: { 'content-type': 'application/json' } })
    proxy.clear()
  })

  const append = (message: unknown) =>
    fetch(stream, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify([message]) })
  const read = async () => (await fetch(`${stream}?offset=-1`)).json()

  test('requests pass, and the proxy records them', async () => {
    const { status } = await append({ n: 1 })
    expect(status).toBeLessThan(300)
    expect(await read()).toEqual([{ n: 1 }])
    expect(proxy.count()).toBe(2)
    const [post, get] = proxy.requests
    expect(post).toMatchObject({ method: 'POST', status })
    expect(post?.headers['content-type']).toBe('application/json')
    expect(post?.body.toString()).toBe('[{"n":1}]')
    expect(get?.path).toMatch(/\/v1\/stream\/tenant\/store-\d+$/)
    expect(get?.query.get('offset')).toBe('-1')
  })

  test('a dropped request is never applied, and the request of a dropped response is', async () => {
    proxy.next({ method: 'POST' }, 'drop request')
    await expect(append('a')).rejects.toThrow()
    const dropped = proxy.next({ method: 'POST' }, 'drop response')
    await expect(append('b')).rejects.toThrow()
    await dropped.met
    await append('c')
    expect(await read()).toEqual(['b', 'c'])
  })

  test('a held request waits before the upstream, and a held response after it', async () => {
    const request = proxy.next({ method: 'POST' }, 'hold request')
    const first = append('a')
    await request.met
    expect(await read()).toEqual([])
    request.release()
    expect((await first).ok).toBe(true)

    const response = proxy.next({ method: 'POST' }, 'hold response')
    const second = append('b')
    await response.met
    expect(await read()).toEqual(['a', 'b'])
    response.release()
    expect((await second).ok).toBe(true)
  })

  test('an armed answer replaces the upstream’s once', async () => {
    proxy.next({ method: 'POST' }, { status: 503, headers: { 'retry-after': '1' }, body: 'later' })
    const refused = await append('a')
    expect([refused.status, refused.headers.get('retry-after'), await refused.text()]).toEqual([503, '1', 'later'])
    expect((await append('b')).ok).toBe(true)
    expect(await read()).toEqual(['b'])
  })

  test('a proxy that goes offline cuts open connections and refuses new ones', async () => {
    await append('a')
    const live = await fetch(`${stream}?offset=-1&live=sse`)
    proxy.setOnline(false)
    await expect(live.text()).rejects.toThrow()
    await expect(append('b')).rejects.toThrow()
    proxy.setOnline(true)
    expect(await read()).toEqual(['a'])
  })

  test('events of a live read arrive at once', async () => {
    const live = await fetch(`${stream}?offset=-1&live=sse`)
    const reader = live.body!.pipeThrough(new TextDecoderStream()).getReader()
    await append({ n: 'now' })
    let text = ''
    while (!text.includes('"now"')) text += (await reader.read()).value
    await reader.cancel()
  })

  test('data survives a stop and a kill', async () => {
    await append('a')
    await upstream.restart()
    expect(await read()).toEqual(['a'])
    await append('b')
    await upstream.kill()
    await expect(read()).rejects.toThrow()
    await upstream.restart()
    expect(await read()).toEqual(['a', 'b'])
  })
})

describe.each([
  { name: 'Miniflare', start: startWorker },
  { name: 'wrangler dev, as npm start has it', start: startWranglerDev },
])('a Worker on $name', ({ start }) => {
  test('comes back on its port after a stop and after a kill, and goes on', async () => {
    const upstream = await startRustUpstream()
    const proxy = await startCountingProxy(upstream.url)
    const worker = await start({ upstreamUrl: proxy.url })
    const store = new Store({ upstream, worker })
    try {
      await store.pushed(chain(0, 1))
      await worker.restart()
      await store.pushed(chain(1, 1))
      await worker.kill()
      await expect(store.read()).rejects.toThrow()
      await worker.restart()
      await store.pushed(chain(2, 1))
      expect(await store.events()).toEqual(chain(0, 3))
    } finally {
      await worker.stop()
      await proxy.stop()
      await upstream.stop()
    }
  })
})
