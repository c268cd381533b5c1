import { describe, expect, test } from 'vitest'
import { checkChain } from '../support/events.ts'
import { chain, event, json, type Problem, Store } from '../support/store.ts'
import { upstreams, useParts } from './parts.ts'

describe.each(upstreams)('with faults, on $name:', ({ start }) => {
  const parts = useParts(start, { UPSTREAM_TIMEOUT_MS: '1000' })
  const store = () => new Store(parts)

  test('an append whose answer is lost is found in the log, and not repeated', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    parts.proxy.clear()
    parts.proxy.next({ method: 'POST' }, 'drop response')
    await s.pushed(chain(1, 2))
    expect(parts.proxy.requests.map(({ method }) => method)).toEqual(['POST', 'GET'])
    expect(await s.eventsInLog()).toEqual(chain(0, 3))
  })

  test('a lost append is repeated after a look at the log', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    parts.proxy.clear()
    parts.proxy.next({ method: 'POST' }, 'drop request')
    await s.pushed(chain(1, 2))
    expect(parts.proxy.requests.map(({ method }) => method)).toEqual(['POST', 'GET', 'POST'])
    expect(await s.eventsInLog()).toEqual(chain(0, 3))
  })

  test('an append that arrives after its timeout is refused', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const held = parts.proxy.next({ method: 'POST' }, 'hold request')
    const push = s.push(chain(1, 2))
    const late = await held.met
    expect((await push).status).toBe(200) // by a second try
    held.release()
    await expect.poll(() => late.status).toBe(403) // of an older epoch; the fence would be next
    await s.pushed(chain(3, 1))
    expect(await s.eventsInLog()).toEqual(chain(0, 4))
  })

  test('a stale push does not wait for an append in flight', async () => {
    const s = store()
    await s.pushed(chain(0, 2))
    const held = parts.proxy.next({ method: 'POST' }, 'hold request')
    const slow = s.push(chain(2, 1))
    await held.met
    expect((await s.push(chain(1, 1, 'stale'))).status).toBe(409)
    held.release()
    expect((await slow).status).toBe(200)
  })

  test('a client that leaves in mid-push delays no other client, and its batch is whole or absent', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const held = parts.proxy.next({ method: 'POST' }, 'hold request')
    const leaver = new AbortController()
    const left = fetch(s.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(chain(1, 3, 'left')),
      signal: leaver.signal,
    })
    await held.met
    leaver.abort()
    await expect(left).rejects.toThrow()
    const next = s.push(chain(1, 1, 'next'))
    held.release()
    const status = (await next).status
    const events = await s.eventsInLog()
    checkChain(events)
    expect(events.slice(1)).toEqual(status === 200 ? chain(1, 1, 'next') : chain(1, 3, 'left'))
    await s.pushed(chain(events.length, 1))
  })

  test('while the upstream is down, pushes receive 503 with Retry-After, and afterwards nothing is lost', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    parts.proxy.setOnline(false)
    for (const response of [await s.push(chain(1, 1)), await s.read(), await s.request('HEAD')]) {
      expect(response.status).toBe(503)
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await response.text()).not.toContain(parts.proxy.url)
    }
    parts.proxy.setOnline(true)
    await s.pushed(chain(1, 1))
    expect(await s.eventsInLog()).toEqual(chain(0, 2))
  })

  test('a read that the upstream refuses receives a problem', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    for (const [upstream, told] of [
      [400, 400],
      [410, 410],
      [429, 429],
      [500, 503],
      [503, 503],
      [418, 502],
    ] as const) {
      parts.proxy.next({ method: 'GET' }, { status: upstream })
      const response = await s.read()
      expect([response.status, response.headers.get('content-type')]).toEqual([told, 'application/problem+json'])
    }
  })

  test('a killed Worker goes on from its stored state', async () => {
    const s = store()
    await s.pushed(chain(0, 2))
    await s.rowsWritten()
    await parts.worker.kill()
    await parts.worker.restart()
    parts.proxy.clear()
    await s.pushed(chain(2, 1))
    await s.pushed(chain(3, 1))
    expect(parts.proxy.requests.map(({ method }) => method)).toEqual(['GET', 'POST', 'POST'])
  })

  test('a Worker that is killed before it wrote its rows reads the log instead', async () => {
    const s = store()
    for (let head = 0; head < 10; head += 2) await s.pushed(chain(head, 2))
    await parts.worker.kill()
    await parts.worker.restart()
    await s.pushed(chain(10, 1))
    expect(await s.events()).toEqual(chain(0, 11))
    expect(await s.eventsInLog()).toEqual(chain(0, 11))
  })
})

describe('a stream that already holds events', () => {
  const parts = useParts()

  test('is adopted with 50,000 events in bounded memory', { timeout: 120_000 }, async () => {
    const s = new Store(parts)
    const headers = { 'content-type': 'application/json' }
    await fetch(s.upstreamUrl, { method: 'PUT', headers })
    const padding = 'x'.repeat(3_000) // 155 MB in all: more than an isolate may hold
    for (let after = 0; after < 50_000; after += 1_000) {
      await fetch(s.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(chain(after, 1_000, padding)) })
    }
    const before = await parts.worker.memory()
    const response = await s.pushed([event(50_001)])
    expect(response.headers.get('livestore-head')).toBe('50001')
    expect(response.headers.get('livestore-backend-id')).toBe(`path:acme/${s.name}`)
    expect((await parts.worker.memory()) - before).toBeLessThan(64 * 1024 * 1024)
    parts.proxy.clear()
    await s.pushed([event(50_002)])
    expect(parts.proxy.requests.map(({ method }) => method)).toEqual(['POST'])
  })
})

// The limits of one store are 256 pushes, and a fifth of the 32 MiB that all stores in the isolate may hold.
describe('a store that is flooded with pushes while the upstream hangs', { timeout: 60_000 }, () => {
  const parts = useParts(upstreams[0]?.start, { UPSTREAM_TIMEOUT_MS: '60000' })

  test.each([
    ['small', 10, 400, 256],
    ['large', 900_000, 80, 7],
  ])(
    'lets only a bounded number of %s pushes wait, and goes on when the upstream does',
    async (_, size, count, waiting) => {
      const [s, neighbour] = [new Store(parts), new Store(parts)]
      await s.pushed(chain(0, 1))
      const memory = [await parts.worker.memory()]
      const held = parts.proxy.next({ method: 'POST', path: s.name }, 'hold request')
      const first = s.push(chain(1, 1, 'x'.repeat(size)))
      await held.met
      let refused = 0
      const push = async () => {
        const response = await s.push(chain(1, 1, 'y'.repeat(size)))
        if (response.status === 409) return
        const problem = await json<Problem>(response)
        expect([response.status, response.headers.get('retry-after'), problem._tag]).toEqual([
          503,
          '1',
          'OverloadedError',
        ])
        refused += 1
      }
      const flood = Array.from({ length: count - 1 }, push)
      await expect.poll(() => refused, { timeout: 20_000 }).toBe(count - waiting)
      memory.push(await parts.worker.memory())
      // Refused pushes leave nothing behind. The large ones are 313 MiB together
      for (let wave = 0; wave < 5; wave++) await Promise.all(Array.from({ length: count - waiting }, push))
      memory.push(await parts.worker.memory())
      await neighbour.pushed(chain(0, 1))
      held.release()
      expect((await first).status).toBe(200)
      await Promise.all(flood)
      expect(refused).toBe(6 * (count - waiting))

      const [before = 0, full = 0, after = 0] = memory.map((bytes) => Math.round(bytes / 2 ** 20))
      console.log(
        `${count} ${size}-byte pushes at once, ${waiting} wait: ${full - before} MiB more; 5 more waves: ${after - full} MiB more`,
      )
      expect(after - full).toBeLessThan(160)
      await s.pushed(chain(2, 1))
      const events = await s.eventsInLog()
      expect(events.map(({ seqNum }) => seqNum)).toEqual([1, 2, 3])
      checkChain(events)
    },
  )
})
