// The rights that open a socket, how long they last, and what a socket may send.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startRustUpstream, startWorker } from '../harness/index.ts'
import { openSocket, tryUpgrade } from '../support/socket.ts'
import { chain, event, Store } from '../support/store.ts'
import { bearer, hs256, JWT, now } from '../support/tokens.ts'
import type { Parts } from './parts.ts'

const parts = {} as Parts
const LISTED = 'https://app.example'
/** The seconds for which the Worker takes a token after its end (core/src/auth/claims.rs). */
const LEEWAY = 60

beforeAll(async () => {
  parts.upstream = await startRustUpstream()
  parts.worker = await startWorker({
    upstreamUrl: parts.upstream.url,
    vars: { ...JWT, ALLOWED_ORIGINS: LISTED, MAX_BATCH_BYTES: '2000', MAX_EVENT_BYTES: '1500' },
  })
})
afterAll(async () => {
  await parts.worker?.stop()
  await parts.upstream?.stop()
})

const claims = (more: Record<string, unknown> = {}) => ({
  tenant: 'acme',
  stores: '*',
  scope: 'read write admin',
  ...more,
})
const withToken = (more?: Record<string, unknown>) => ['headwater.v1', `bearer.${hs256(claims(more))}`]

describe('an upgrade', () => {
  test.each<[string, Record<string, string>, number, string]>([
    ['without a token', {}, 401, 'unauthorized'],
    ['with a token that is no token', { 'sec-websocket-protocol': 'headwater.v1, bearer.x' }, 401, 'unauthorized'],
    ['with an expired token', bearer(hs256(claims({ exp: now() - 120 }))), 401, 'unauthorized'],
    ['for another tenant', bearer(hs256(claims({ tenant: 'other' }))), 403, 'forbidden'],
    ['for another store', bearer(hs256(claims({ stores: ['another'] }))), 403, 'forbidden'],
    ['without the scope to read', bearer(hs256(claims({ scope: 'write' }))), 403, 'forbidden'],
    ['of a page that is not listed', { ...bearer(hs256(claims())), origin: 'https://evil.example' }, 403, 'forbidden'],
    ['that is no WebSocket', { ...bearer(hs256(claims())), upgrade: 'h2c' }, 426, 'upgrade-required'],
  ])('%s is refused with %3$i', async (_, headers, status, kind) => {
    const answer = await tryUpgrade(new Store(parts).url, headers)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body)).toMatchObject({ type: `urn:headwater:problem:${kind}`, status })
  })

  test.each<[string, Record<string, string>]>([
    ['with the token in the header', bearer(hs256(claims()))],
    ['with the token in a subprotocol', { 'sec-websocket-protocol': withToken().join(', ') }],
    ['of a listed page', { ...bearer(hs256(claims())), origin: LISTED }],
    ['to read only', bearer(hs256(claims({ scope: 'read' })))],
  ])('%s is granted', async (_, headers) => {
    const answer = await tryUpgrade(new Store(parts).url, headers)
    expect(answer.status).toBe(101)
    // A token must not be echoed.
    expect([undefined, 'headwater.v1']).toContain(answer.headers['sec-websocket-protocol'])
  })

  test('without `Upgrade`, as a plain GET, is refused with 426', async () => {
    const answer = await fetch(`${new Store(parts).url}?live=websocket`, { headers: bearer(hs256(claims())) })
    expect(answer.status).toBe(426)
  })
})

describe('a token of the socket', () => {
  const admin = bearer(hs256(claims()))
  const expiringIn = (seconds: number) => withToken({ exp: now() - LEEWAY + seconds })

  test('is told with the time that it lasts', async () => {
    const socket = await openSocket(new Store(parts).url, expiringIn(100))
    const { expiresInMs } = (await socket.next()).head['hello']
    expect(expiresInMs).toBeGreaterThan(95_000)
    expect(expiresInMs).toBeLessThanOrEqual(100_000)
    socket.close()
  })

  test('ends what is pushed and what is brought, when it expires', async () => {
    const store = new Store(parts)
    const [reader, writer] = await Promise.all([0, 1].map(() => openSocket(store.url, expiringIn(3))))
    if (reader === undefined || writer === undefined) throw new Error('no sockets')
    const { hello } = (await reader.next()).head
    await writer.next()
    await new Promise((resolve) => setTimeout(resolve, hello.expiresInMs + 100))
    writer.send({ push: { id: 1 } }, JSON.stringify([event(1)]))
    expect((await writer.next()).head).toMatchObject({ bye: { reason: 'unauthorized' } })
    expect((await writer.closed).code).toBe(4401)
    expect((await store.push([event(1)], admin)).status).toBe(200)
    expect((await reader.next()).head).toMatchObject({ bye: { reason: 'unauthorized' } })
    expect((await reader.closed).code).toBe(4401)
  })

  test('can be renewed in band', async () => {
    const store = new Store(parts)
    const socket = await openSocket(store.url, expiringIn(3))
    const { hello } = (await socket.next()).head
    socket.send({ token: hs256(claims({ exp: now() + 600 })) })
    const { granted } = (await socket.next()).head
    expect(granted.expiresInMs).toBeGreaterThan(600_000)
    await new Promise((resolve) => setTimeout(resolve, hello.expiresInMs + 100))
    socket.send({ push: { id: 1 } }, JSON.stringify([event(1)]))
    expect((await socket.next()).head).toMatchObject({ ack: { push: 1, head: 1 } })
    socket.close()
  })

  test.each([
    ['is wrong', 'x'],
    ['is another tenant’s', hs256(claims({ tenant: 'other' }))],
    ['may not read', hs256(claims({ scope: 'write' }))],
  ])('closes the socket if the new one %s', async (_, token) => {
    const socket = await openSocket(new Store(parts).url, withToken())
    await socket.next()
    socket.send({ token })
    expect((await socket.next()).head).toMatchObject({ bye: { reason: 'unauthorized' } })
    expect((await socket.closed).code).toBe(4401)
  })

  test('that may only read is refused a push, and goes on reading', async () => {
    const store = new Store(parts)
    const socket = await openSocket(store.url, withToken({ scope: 'read' }))
    await socket.next()
    socket.send({ push: { id: 1 } }, JSON.stringify([event(1)]))
    expect((await socket.next()).head).toMatchObject({ refuse: { push: 1, problem: { status: 403, scope: 'write' } } })
    expect((await store.push([event(1)], admin)).status).toBe(200)
    expect((await socket.next()).batch).toBe(JSON.stringify([event(1)]))
    socket.close()
  })
})

describe('a push over a socket', () => {
  test.each<[string, string, object]>([
    ['without a batch', '', { status: 400, field: 'body' }],
    ['that is no JSON', '[{', { status: 400, field: 'body' }],
    ['that is no array', '{}', { status: 422, field: 'body' }],
    ['of no events', '[]', { status: 400, field: 'body' }],
    ['with a broken event', JSON.stringify([{ ...event(1), name: 1 }]), { status: 422, index: 0, field: 'name' }],
    ['that is too large', JSON.stringify([event(1, 'x'.repeat(2_500))]), { status: 413, maxBytes: 2_000 }],
    ['with an event that is too large', JSON.stringify([event(1, 'x'.repeat(1_600))]), { status: 413, index: 0 }],
    ['that leaves a gap', JSON.stringify([event(5)]), { status: 409, reason: 'gap' }],
  ])('%s is refused as by HTTP, and the socket goes on', async (_, batch, problem) => {
    const store = new Store(parts)
    const socket = await openSocket(store.url, withToken())
    await socket.next()
    socket.send({ push: { id: 1 } }, batch)
    expect((await socket.next()).head).toMatchObject({ refuse: { push: 1, problem } })
    socket.send({ push: { id: 2 } }, JSON.stringify(chain(0, 2)))
    expect((await socket.next()).head).toMatchObject({ ack: { push: 2, head: 2 } })
    socket.close()
  })

  test('is refused if its backend is another one', async () => {
    const socket = await openSocket(new Store(parts).url, withToken())
    const { hello } = (await socket.next()).head
    socket.send({ push: { id: 1, backend: 'another' } }, JSON.stringify([event(1)]))
    expect((await socket.next()).head).toMatchObject({
      refuse: { problem: { _tag: 'BackendIdMismatchError', expected: hello.backend, received: 'another' } },
    })
    socket.close()
  })

  test.each(['', 'hello', '[]', 'null', '{"push":7}', '\n[]'])('that is %j closes the socket', async (frame) => {
    const socket = await openSocket(new Store(parts).url, withToken())
    await socket.next()
    socket.sendText(frame)
    expect((await socket.next()).head).toMatchObject({ bye: { reason: 'malformed' } })
    expect((await socket.closed).code).toBe(4400)
  })

  test('is nothing to a frame of a later version', async () => {
    const socket = await openSocket(new Store(parts).url, withToken())
    await socket.next()
    socket.send({ later: { push: 1 } })
    socket.sendText('ping')
    expect((await socket.next()).head).toEqual({ pong: true })
    socket.close()
  })
})
