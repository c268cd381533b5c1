// The operator's view of the Worker: a log line for each request, and the readiness check.
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { describe, expect, test } from 'vitest'
import { listen, startWorker } from '../harness/index.ts'
import { sse } from '../support/sse.ts'
import { chain, event, Store } from '../support/store.ts'
import { bearer, hs256, JWT, SECRET } from '../support/tokens.ts'
import { useDeployments } from './parts.ts'

const UPSTREAM_TOKEN = 'upstream-token-5e3c'

const { parts, deploy } = useDeployments()
const digest = (path: string) => createHash('sha256').update(path).digest('hex').slice(0, 12)
/** The lines of one store, once there are so many. */
const lines = async (store: Store, count: number) => {
  const own = () => parts.worker.jsonLines().filter((line) => line.store === digest(`${store.tenant}/${store.name}`))
  await expect.poll(() => own().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(count)
  return own()
}

describe('the log', () => {
  test('has one line for each request, with its outcome', async () => {
    await deploy({ SEGMENT_EVENTS: '10' })
    const store = new Store(parts)
    await store.pushed(chain(0, 10))
    await store.pushed(chain(0, 10))
    expect((await store.push(chain(4, 1))).status).toBe(409)
    expect((await store.push(chain(14, 1))).status).toBe(409)
    expect((await store.push('{}')).status).toBe(422)
    // The Sequencer reads the log, and so learns where it is sealed
    await store.request('HEAD')
    for (const cache of ['MISS', 'HIT']) {
      await expect
        .poll(async () => {
          const response = await store.read()
          await response.body?.cancel()
          return response.headers.get('x-cache')
        })
        .toBe(cache)
    }
    const controller = new AbortController()
    const live = await store.read('offset=now&live=sse', {}, controller.signal)
    await sse(live).next()
    const all = await lines(store, 9) // while it is still open
    controller.abort()

    const common = { log: 'request', tenant: 'acme', ms: expect.any(Number), waits: expect.any(Object) }
    const pushed = { ...common, method: 'POST', route: 'push' }
    const batch = { events: 10, bytes: JSON.stringify(chain(0, 10)).length, first: 1, last: 10 }
    expect(all.slice(0, 6)).toMatchObject([
      {
        ...pushed,
        ...batch,
        status: 200,
        outcome: 'accepted',
        waits: { body: expect.any(Number), sequencer: expect.any(Number) },
      },
      { ...pushed, ...batch, status: 200, outcome: 'accepted-again' },
      { ...pushed, status: 409, outcome: 'ServerAheadError', problem: 'server-ahead', events: 1, first: 5, last: 5 },
      { ...pushed, status: 409, outcome: 'InvalidPushError', problem: 'invalid-push', reason: 'gap' },
      { ...pushed, status: 422, outcome: 'InvalidPushError', problem: 'invalid-push' },
      { ...common, method: 'HEAD', route: 'look', status: 200, outcome: 'ok' },
    ])
    expect(all[4]).not.toHaveProperty('events')
    expect(
      all
        .filter((line) => line.route === 'read' && line.live === undefined)
        .map((line) => line.cache)
        .slice(-2),
    ).toEqual(['MISS', 'HIT'])
    expect(all.at(-1)).toMatchObject({
      ...common,
      method: 'GET',
      route: 'read',
      status: 200,
      outcome: 'ok',
      live: 'sse',
      cache: 'BYPASS',
    })
  })

  test('contains no event, no token, no store name and no address of the upstream', async () => {
    await deploy({ ...JWT, UPSTREAM_TOKEN, SEGMENT_EVENTS: '1' })
    const store = new Store(parts, { name: 'patient-4711' })
    const claims = { tenant: 'acme', stores: '*', scope: 'read write' }
    const [good, bad] = [hs256(claims), hs256(claims, 'another')]
    const secretive = { ...event(1, { password: 'hunter2-in-args' }), name: 'name-of-event', clientId: 'id-of-client' }
    expect((await store.push([secretive], bearer(good))).status).toBe(200)
    expect((await store.push([{ ...secretive, seqNum: 'hunter2-as-seqNum' }], bearer(good))).status).toBe(422)
    expect((await store.push([secretive], bearer(bad))).status).toBe(401)
    expect((await store.push([secretive])).status).toBe(401)
    expect((await store.read('offset=hunter2,in,offset', bearer(good))).status).toBe(400)
    await (await store.read('offset=-1', bearer(good))).text()
    parts.proxy.setOnline(false)
    expect((await store.request('HEAD', { headers: bearer(good) })).status).toBe(503)

    const all = await lines(store, 6)
    expect(all.map(({ status, reason }) => [status, reason])).toEqual([
      [200, undefined],
      [422, undefined],
      [401, 'signature'],
      [401, 'missing'],
      [200, undefined],
      [503, undefined],
    ])
    await expect.poll(() => parts.worker.jsonLines().some((line) => line.status === 400)).toBe(true)
    const secrets = [
      'hunter2',
      'name-of-event',
      'id-of-client',
      store.name,
      good,
      bad,
      good.split('.')[2]!,
      SECRET,
      UPSTREAM_TOKEN,
      parts.proxy.url,
    ]
    for (const secret of secrets) expect(parts.worker.logs()).not.toContain(secret)
    expect(JSON.stringify(parts.worker.jsonLines())).toContain('UnauthorizedError')
  })

  test('has the numbers of a batch’s events, though the push is refused for another reason', async () => {
    await deploy()
    const store = new Store(parts)
    expect((await store.push(chain(0, 3), { 'livestore-backend-id': 'x'.repeat(1025) })).status).toBe(400)
    expect((await lines(store, 1))[0]).toMatchObject({
      status: 400,
      problem: 'bad-request',
      events: 3,
      first: 1,
      last: 3,
    })
  })

  test('has only errors, or nothing, if LOG_REQUESTS says so', async () => {
    for (const [wanted, statuses] of [
      ['errors', [422]],
      ['none', []],
    ] as const) {
      await deploy({ LOG_REQUESTS: wanted })
      const store = new Store(parts)
      await store.pushed(chain(0, 1))
      expect((await store.push(chain(0, 1, 'other'))).status).toBe(409)
      expect((await store.push('{}')).status).toBe(422)
      await lines(store, statuses.length)
      expect(parts.worker.jsonLines().map((line) => line.status)).toEqual(statuses)
      await parts.worker.stop()
    }
  })
})

test('with a dataset of Workers Analytics Engine, the Worker writes points without an error', async () => {
  await deploy({}, { analytics: true })
  const store = new Store(parts)
  await store.pushed(chain(0, 1))
  expect(await store.events()).toEqual(chain(0, 1))
  await lines(store, 2)
  expect(parts.worker.logs()).not.toContain('data point')
})

describe('/ready', () => {
  const ready = (method = 'GET') => fetch(`${parts.worker.url}/ready`, { method })

  test('says whether the Worker reaches the upstream, which it asks at most once a second', async () => {
    await deploy()
    parts.proxy.clear()
    const answers = await Promise.all(Array.from({ length: 20 }, () => ready()))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(await answers[0]!.json()).toEqual({ status: 'ready' })
    expect(answers[0]!.headers.get('cache-control')).toBe('no-store')
    expect(parts.proxy.requests.map(({ method, path }) => `${method} ${path.split('/').at(-1)}`)).toEqual([
      'HEAD ~ready',
    ])
    expect((await ready('HEAD')).status).toBe(200)

    parts.proxy.setOnline(false)
    await expect.poll(async () => (await ready()).status, { timeout: 10_000 }).toBe(503)
    const response = await ready()
    expect(response.headers.get('retry-after')).toBe('1')
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const text = await response.text()
    expect(JSON.parse(text)).toMatchObject({ status: 503, _tag: 'UnavailableError' })
    expect(text).not.toContain('127.0.0.1')
    expect((await fetch(`${parts.worker.url}/health`)).status).toBe(200)

    parts.proxy.setOnline(true)
    await expect.poll(async () => (await ready()).status, { timeout: 10_000 }).toBe(200)
    // The check has created no stream
    expect((await fetch(`${parts.upstream.url}/~ready`, { method: 'HEAD' })).status).toBe(404)
  })

  test('needs no token, and does not wait long for a hanging upstream', async () => {
    const hanging = await listen(createServer(() => {}))
    try {
      const upstreamUrl = `${hanging.url}/v1/stream`
      parts.worker = await startWorker({ upstreamUrl, vars: JWT })
      const began = performance.now()
      const answers = await Promise.all([ready(), ready(), ready('HEAD')])
      expect(answers.map(({ status }) => status)).toEqual([503, 503, 503])
      expect(performance.now() - began).toBeLessThan(8_000) // 3 s, where UPSTREAM_TIMEOUT_MS is 10
    } finally {
      await hanging.stop()
    }
  })

  test.each([
    [500, 503],
    [503, 503],
    [404, 200],
    [401, 200],
  ])('with an upstream that answers %i answers %i', async (upstreamStatus, status) => {
    await deploy()
    parts.proxy.next({ path: '~ready' }, { status: upstreamStatus })
    expect((await ready()).status).toBe(status)
  })
})
