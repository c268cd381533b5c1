// The limits of one caller, and the answers beyond them.
import { createServer } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { listen, startWorker } from '../harness/index.ts'
import { chain, event, json, type Problem, Store } from '../support/store.ts'
import { bearer, hs256, JWT, SECRET } from '../support/tokens.ts'
import { type Parts, useParts } from './parts.ts'

const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})

interface Slow {
  /** Sends one more chunk. */
  chunk(text: string): void
  raw(text: string): void
  end(): void
  /** Whether the connection failed during a write. */
  broke(): boolean
  /** The answer, once the connection has ended or was cut. */
  readonly answer: Promise<string>
}

/** A push whose body arrives bit by bit. */
const slow = (store: Store, header = 'transfer-encoding: chunked', type = 'content-type: application/json'): Slow => {
  const { hostname, port, pathname } = new URL(store.url)
  const socket = connect(Number(port), hostname)
  sockets.push(socket)
  let text = ''
  let broken = false
  const answer = new Promise<string>((resolve) => {
    const done = () => resolve(text)
    socket.on('data', (data) => {
      text += data
      if (/\r\n\r\n.*\}(\r\n0\r\n\r\n)?$/s.test(text)) done()
    })
    socket.on('close', done).on('error', () => {
      broken = true
      done()
    })
  })
  socket.write(`POST ${pathname} HTTP/1.1\r\nhost: ${hostname}:${port}\r\n${type}\r\n${header}\r\n\r\n`)
  return {
    chunk: (text) => socket.write(`${text.length.toString(16)}\r\n${text}\r\n`),
    raw: (text) => socket.write(text),
    end: () => socket.write('0\r\n\r\n'),
    broke: () => broken,
    answer,
  }
}

describe('a small deployment', () => {
  const parts = useParts(undefined, {
    MAX_EVENT_BYTES: '500',
    MAX_BATCH_BYTES: '5000',
    MAX_NAME_BYTES: '40',
    BODY_TIMEOUT_MS: '4000',
    MAX_IN_FLIGHT: '3',
  })

  test('a push with too large an event is refused with the event and its size', async () => {
    const store = new Store(parts)
    const large = { text: 'x'.repeat(500) }
    const response = await store.push([event(1), event(2, large), event(3)])
    expect(response.status).toBe(413)
    const problem = await json<Problem & { index: number; maxBytes: number }>(response)
    expect(problem).toMatchObject({ _tag: 'PayloadTooLargeError', index: 1, maxBytes: 500 })
    expect(problem.detail).toContain(String(JSON.stringify(event(2, large)).length))
    expect(await store.events()).toEqual([])
    expect((await store.push([event(1, { text: 'x'.repeat(300) })])).status).toBe(200)
  })

  test('a name may have as many bytes as the setting says', async () => {
    const at = (tenant: string, name: string) => new Store(parts, { tenant, name }).read()
    expect((await at('a', 'é'.repeat(20))).status).toBe(200)
    for (const [tenant, name, field] of [
      ['a', 'é'.repeat(21), 'store'],
      ['x'.repeat(41), 'a', 'tenant'],
    ] as const) {
      const response = await at(tenant, name)
      expect(response.status).toBe(400)
      expect(await json(response)).toMatchObject({ field, detail: expect.stringContaining('at most 40') })
    }
  })

  test.each(['transfer-encoding: chunked', 'content-length: 300'])(
    'a body that does not arrive is cut off (%s)',
    async (header) => {
      const store = new Store(parts)
      const push = slow(store, header)
      if (header.startsWith('transfer')) push.chunk('[')
      expect(await push.answer).toMatch(/^HTTP\/1.1 408 [^]*RequestTimeoutError/)
      expect(await store.events()).toEqual([])
      expect((await store.push([event(1)])).status).toBe(200)
    },
  )

  test('an endless body is cut off at the limit', async () => {
    const store = new Store(parts)
    const push = slow(store)
    let sent = 0
    const more = setInterval(() => {
      push.chunk('x'.repeat(1_000))
      sent += 1_000
    }, 10)
    const answer = await push.answer
    clearInterval(more)
    expect(answer).toMatch(/^HTTP\/1.1 413 [^]*"maxBytes":5000/)
    expect(sent).toBeLessThan(100_000)
    expect((await store.push([event(1)])).status).toBe(200)
  })

  test('a client that sends its whole body before it reads receives the refusal', async () => {
    const store = new Store(parts)
    const size = 600_000
    for (const [header, wanted] of [
      ['content-type: text/plain', /^HTTP\/1.1 409 /],
      ['content-type: application/json', /^HTTP\/1.1 413 [^]*"maxBytes":5000/],
    ] as const) {
      const push = slow(store, `content-length: ${size}`, header)
      // A real network's speed, at which the runtime would close the connection after 64 KiB.
      for (let sent = 0; sent < size; sent += 6_000) {
        push.raw('x'.repeat(6_000))
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      expect(await push.answer).toMatch(wanted)
      expect(push.broke()).toBe(false)
    }
  })

  test('a refused body that does not arrive delays the refusal by only a few seconds', async () => {
    const push = slow(new Store(parts), 'content-length: 300', 'content-type: text/plain')
    expect(await push.answer).toMatch(/^HTTP\/1.1 409 /)
  }, 15_000)

  test('a store with too many pushes in arrival refuses more, and no other store suffers', async () => {
    const [store, other] = [new Store(parts), new Store(parts)]
    // A whole push may take a place before these arrive. The client of a refused one sends it again.
    const arriving = new Set<Slow>()
    const threeArrive = () => {
      while (arriving.size < 3) {
        const push = slow(store)
        push.chunk('[')
        arriving.add(push)
        void push.answer.then(() => arriving.delete(push))
      }
    }
    const next = async () => {
      threeArrive()
      return (await store.push([event(1)])).status
    }
    await expect.poll(next, { timeout: 10_000 }).toBe(503)
    const refused = await store.push([event(2)])
    expect(await json(refused)).toMatchObject({ _tag: 'OverloadedError' })
    expect(refused.headers.get('retry-after')).toBe('1')
    expect((await other.push([event(1)])).status).toBe(200)
    // A client that leaves makes room when its time is over, at the latest.
    for (const socket of sockets.splice(0)) socket.destroy()
    await expect.poll(async () => (await store.push([event(1)])).status, { timeout: 10_000 }).toBe(200)
  })
})

describe('many stores that are flooded with pushes while the upstream hangs', () => {
  const parts = useParts(undefined, { UPSTREAM_TIMEOUT_MS: '60000' })

  test('hold no more than the isolate may hold, each store no more than its share, and refuse the rest at once', async () => {
    const stores = Array.from({ length: 8 }, (_, i) => new Store(parts, { name: `flooded-${i}` }))
    for (const store of stores) await store.pushed(chain(0, 1))
    const before = await parts.worker.memory()
    parts.proxy.inject(({ method, path }) =>
      method === 'POST' && path.includes('flooded') ? 'hold request' : undefined,
    )
    const answered = stores.map(() => [] as number[])
    let slowest = 0
    const flood = stores.flatMap((store, i) =>
      Array.from({ length: 34 }, async () => {
        const began = Date.now()
        const response = await store.push(chain(1, 1, 'y'.repeat(900_000)))
        answered[i]!.push(response.status)
        if (response.status !== 503) return
        slowest = Math.max(slowest, Date.now() - began)
        expect(response.headers.get('retry-after')).toBe('1')
        expect(await json(response)).toMatchObject({ _tag: 'OverloadedError' })
      }),
    )
    // 32 MiB hold 37 of them. The stores can't take all of it, because each must leave as much free as it takes.
    const refused = () => answered.flat().length
    await expect.poll(refused, { timeout: 20_000 }).toBeGreaterThanOrEqual(8 * 34 - 37)
    expect(new Set(answered.flat())).toEqual(new Set([503]))
    expect(slowest).toBeLessThan(20_000) // and not after the 60 s of the upstream
    const held = answered.map((statuses) => 34 - statuses.length)
    for (const one of held) expect(one).toBeGreaterThanOrEqual(1)
    // More of the same pushes add nothing.
    for (let wave = 0; wave < 3; wave++) {
      const again = await Promise.all(
        stores.flatMap((store) => Array.from({ length: 10 }, () => store.push(chain(1, 1, 'z'.repeat(900_000))))),
      )
      expect(again.filter(({ status }) => status === 503).length).toBeGreaterThan(40)
    }
    const grown = Math.round(((await parts.worker.memory()) - before) / 2 ** 20)
    console.log(
      `8 stores × 34 pushes of 0.9 MB: ${held.join(' + ')} wait, the others were refused within ${slowest} ms; workerd grew by ${grown} MiB`,
    )
    expect(grown).toBeLessThan(400)
    // Another store finds room, and does not wait.
    const neighbour = new Store(parts)
    await neighbour.pushed(chain(0, 1, 'x'.repeat(900_000)))

    parts.proxy.inject()
    parts.proxy.abandon()
    await Promise.all(flood)
    for (const store of stores) {
      expect((await store.eventsInLog()).map(({ seqNum }) => seqNum)).toEqual([1, 2])
      expect((await store.push(chain(2, 1, 'x'.repeat(900_000)))).status).toBe(200)
    }
  }, 90_000)
})

describe('a rate limit', () => {
  const parts = useParts()

  test('applies to each tenant alone, and its refusal has Retry-After', async () => {
    const worker = await startWorker({
      upstreamUrl: parts.upstream.url,
      vars: JWT,
      rateLimit: { limit: 5, period: 60 },
    })
    try {
      const limited = { worker } as Parts
      const read = (tenant: string, name: string, secret = SECRET) =>
        new Store(limited, { tenant, name }).read(
          'offset=-1',
          bearer(hs256({ tenant, stores: '*', scope: 'read' }, secret)),
        )
      // A refused token does not count against the limit.
      for (let i = 0; i < 10; i++)
        expect((await read('acme', 'store', 'another secret, as long as the right one is')).status).toBe(401)
      let refused: Response | undefined
      // The limiter counts in periods of the clock. One period may end meanwhile, and another begin.
      for (let i = 0; i < 11 && refused === undefined; i++) {
        const response = await read('acme', `store-${i}`)
        if (response.status === 200) expect(i).toBeLessThan(10)
        else refused = response
        if (i < 5) expect(response.status).toBe(200)
      }
      expect(refused?.status).toBe(429)
      expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await json(refused!)).toMatchObject({ _tag: 'RateLimitedError' })
      expect((await read('globex', 'store-1')).status).toBe(200)
    } finally {
      await worker.stop()
    }
  })
})

describe("the upstream's token", () => {
  const TOKEN = 'the-token-of-the-upstream'

  test('goes to the upstream, and never to the target of its redirect', async () => {
    const seen: (string | undefined)[] = []
    const elsewhere: string[] = []
    const trap = await listen(
      createServer((request, response) => {
        elsewhere.push(request.headers.authorization ?? '')
        response.end('[]')
      }),
    )
    const upstream = await listen(
      createServer((request, response) => {
        seen.push(request.headers.authorization)
        request.resume()
        response.writeHead(307, { location: `${trap.url}${request.url}` }).end()
      }),
    )
    const upstreamUrl = `${upstream.url}/v1/stream`
    const worker = await startWorker({ upstreamUrl, vars: { UPSTREAM_TOKEN: TOKEN } })
    try {
      const store = new Store({ worker } as Parts)
      const answers = [
        await store.push([event(1)], { authorization: 'Bearer a-client-token' }),
        await store.read('offset=-1', { authorization: 'Bearer a-client-token' }),
        await store.read('offset=-1&live=sse'),
        await store.read('offset=-1&live=long-poll'),
        await store.request('HEAD'),
        await store.request('PUT'),
        await store.request('DELETE'),
      ]
      for (const answer of answers) {
        expect(answer.status).toBe(503)
        const text = `${JSON.stringify([...answer.headers])} ${await answer.text()}`
        for (const secret of [TOKEN, upstreamUrl, trap.url, new URL(upstreamUrl).port])
          expect(text).not.toContain(secret)
      }
      expect(seen.length).toBeGreaterThan(0)
      expect(new Set(seen)).toEqual(new Set([`Bearer ${TOKEN}`]))
      expect(elsewhere).toEqual([])
      expect(worker.logs()).not.toContain(TOKEN)
    } finally {
      await worker.stop()
      await trap.stop()
      await upstream.stop()
    }
  })

  test('is in no answer, though the upstream quotes it in its refusal', async () => {
    const upstream = await listen(
      createServer((request, response) => {
        request.resume()
        response.writeHead(403, { 'content-type': 'text/plain' }).end(`no entry for ${request.headers.authorization}`)
      }),
    )
    const worker = await startWorker({ upstreamUrl: upstream.url, vars: { UPSTREAM_TOKEN: TOKEN } })
    try {
      const store = new Store({ worker } as Parts)
      for (const answer of [await store.push(chain(0, 1)), await store.read(), await store.request('PUT')]) {
        expect(answer.status).toBe(502)
        expect(await answer.text()).not.toContain(TOKEN)
      }
    } finally {
      await worker.stop()
      await upstream.stop()
    }
  })
})
