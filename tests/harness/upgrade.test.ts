// WebSockets through the proxies on a real Worker: each control does with a socket what it does with a request.
import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openSocket, type TestSocket } from '../support/socket.ts'
import { chain, event, Store } from '../support/store.ts'
import {
  answers,
  type CountingProxy,
  makeStranger,
  type Says,
  type Server,
  startBufferingProxy,
  startCountingProxy,
  startRustUpstream,
  startWorker,
} from './index.ts'

let upstream: Server
let worker: Server
let proxy: CountingProxy
let store: Store
/** The same store behind the proxy. */
let behind: Store
const open: TestSocket[] = []

beforeAll(async () => {
  upstream = await startRustUpstream()
  worker = await startWorker({ upstreamUrl: upstream.url })
  proxy = await startCountingProxy(worker.url)
})
afterAll(async () => {
  await proxy?.stop()
  await worker?.stop()
  await upstream?.stop()
})
beforeEach(() => {
  proxy.inject()
  proxy.clear()
  store = new Store({ upstream, worker })
  behind = new Store({ upstream, worker: proxy }, { name: store.name })
})
afterEach(() => open.splice(0).forEach((socket) => socket.close()))

const connect = async (url = behind.url): Promise<TestSocket> => {
  const socket = await openSocket(url)
  open.push(socket)
  return socket
}

/** The server's end of the socket is open: it acknowledges a ping. */
const works = async (socket: TestSocket) => {
  socket.sendText('ping')
  await socket.until('pong')
}

/** Text that stays as long when a socket compresses it. */
const noise = (length: number) => randomBytes(length / 2).toString('hex')

/** Waits for longer than a frame takes. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 300))

describe('the counting proxy', () => {
  test('passes frames both ways, and records the upgrade', async () => {
    const [writer, reader] = [await connect(), await connect()]
    await writer.next()
    await reader.next()
    const batch = JSON.stringify(chain(0, 2, { text: noise(20_000) }))
    writer.send({ push: { id: 1 } }, batch)
    await writer.until('ack')
    expect((await reader.next()).batch).toBe(batch)
    expect(proxy.count({ live: 'websocket' })).toBe(2)
    expect(proxy.count({ live: 'any' })).toBe(2)
    expect(proxy.count({ live: 'sse' })).toBe(0)
    const [recorded] = proxy.requests
    expect(recorded).toMatchObject({ method: 'GET', status: 101 })
    expect(recorded?.headers['sec-websocket-protocol']).toBe('headwater.v1')
    expect(proxy.requests[1]?.sent).toBeGreaterThan(10_000)
  })

  test('passes the server’s own refusal of an upgrade', async () => {
    await expect(openSocket(`${proxy.url}/v1/stream/a//b`)).rejects.toThrow('refused')
    expect(proxy.requests[0]?.status).toBeGreaterThanOrEqual(400)
  })

  test('passes the end of either side on to the other', async () => {
    const [left, cut, straight] = [await connect(), await connect(), await connect(store.url)]
    for (const socket of [left, straight]) await socket.next()
    for (const socket of [left, straight]) socket.close()
    expect(await left.closed).toEqual(await straight.closed)
    await worker.kill()
    expect((await cut.closed).code).toBe(1006)
    await worker.restart()
    await works(await connect())
  })

  test('cuts open sockets when it goes offline, and refuses new ones', async () => {
    const socket = await connect()
    await works(socket)
    proxy.setOnline(false)
    expect((await socket.closed).code).toBe(1006)
    await expect(connect()).rejects.toThrow()
    proxy.setOnline(true)
    await works(await connect())
  })

  test('cuts open sockets when it abandons its requests', async () => {
    const socket = await connect()
    await works(socket)
    proxy.abandon()
    expect((await socket.closed).code).toBe(1006)
    await works(await connect())
  })

  test('drops an upgrade before or after the server, and holds it', async () => {
    for (const fault of ['drop request', 'drop response'] as const) {
      const { met } = proxy.next({ live: 'websocket' }, fault)
      await expect(connect()).rejects.toThrow()
      expect((await met).status).toBe(fault === 'drop request' ? undefined : 101)
    }
    for (const fault of ['hold request', 'hold response'] as const) {
      const held = proxy.next({ live: 'websocket' }, fault)
      const opening = connect()
      expect((await held.met).status).toBe(fault === 'hold request' ? undefined : 101)
      held.release()
      await works(await opening)
    }
  })

  test.each(['reset', 'end'] as const)('cuts a socket in mid-frame: %s', async (cutBody) => {
    const { met } = proxy.next({ live: 'websocket' }, { cutBody, after: 1_000 })
    const socket = await connect()
    await socket.next()
    await store.pushed([event(1, { text: noise(5_000) })])
    expect((await socket.closed).code).toBe(1006)
    await expect(socket.next()).rejects.toThrow('closed')
    expect((await met).status).toBe(101)
    await works(await connect())
  })

  test('silences a socket from a byte on, in both directions', async () => {
    const { met } = proxy.next({ live: 'websocket' }, { cutBody: 'silence', after: 1_000 })
    const socket = await connect()
    await socket.next()
    await store.pushed([event(1, { text: noise(5_000) })])
    await met
    socket.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
    await aWhile()
    expect(socket.waiting).toEqual([])
    expect((await store.events()).length).toBe(1)
  })

  test('silences the sockets that are open, and keeps their connections even if the server goes away', async () => {
    const [socket, ended] = [await connect(), Promise.withResolvers<void>()]
    await works(socket)
    void socket.closed.then(() => ended.resolve())
    proxy.silenceSockets()
    await store.pushed([event(1)])
    socket.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
    await worker.kill()
    await worker.restart()
    const [later] = await Promise.all([connect(), aWhile()])
    await works(later)
    expect(await Promise.race([ended.promise, 'open'])).toBe('open')
    expect(socket.waiting).toEqual([])
    expect((await store.events()).length).toBe(1)
  })
})

describe('the stranger', () => {
  test.each<[string, Says, number]>([
    ['a portal’s page, 200', answers.portal, 200],
    ['a redirect, 302', answers.login, 302],
    ['a page, 403', answers.page(403), 403],
    ['a page, 404', answers.page(404), 404],
    ['a page, 503', answers.page(503), 503],
    ['no content', answers.noContent, 204],
  ])('answers an upgrade with %s, and the server receives none', async (_, says, status) => {
    const { met } = makeStranger(proxy).comes(says, { live: 'websocket', times: 1 })
    await expect(connect()).rejects.toThrow('refused')
    expect((await met).status).toBe(status)
    await works(await connect())
  })

  test('writes its answer whole, and ends the connection', async () => {
    makeStranger(proxy).comes(answers.portal, { live: 'websocket', times: 1 })
    const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'x'.repeat(24) }
    const page = await new Promise<string>((resolve, reject) => {
      const asking = request(`${behind.url}?live=websocket`, { headers }, async (response) => {
        let body = `${response.statusCode} `
        for await (const chunk of response) body += chunk
        resolve(body)
      })
      asking.once('error', reject).end()
    })
    expect(page).toMatch(/^200 .*Welcome.*<\/html>$/)
  })

  test('answers `swapped` upgrades, and sends what is no frame', async () => {
    makeStranger(proxy).comes(answers.swapped('<html>Welcome'), { live: 'websocket', times: 1 })
    await connect().then(
      ({ closed }) => closed,
      () => {},
    )
    await works(await connect())
  })
})

describe('the buffering proxy', () => {
  test('with the body held back, a socket opens and stays silent in the client’s direction', async () => {
    const { url, stop } = await startBufferingProxy(worker.url, 'body')
    try {
      const socket = await connect(new Store({ upstream, worker: { url } }, { name: store.name }).url)
      socket.send({ push: { id: 1 } }, JSON.stringify([event(1)]))
      await expect.poll(async () => (await store.events()).length).toBe(1)
      await aWhile()
      expect(socket.waiting).toEqual([])
    } finally {
      await stop()
    }
  })

  test('with everything held back, an upgrade has no answer', async () => {
    const { url, stop } = await startBufferingProxy(worker.url, 'all')
    const opening = connect(new Store({ upstream, worker: { url } }, { name: store.name }).url)
    const refused = expect(opening).rejects.toThrow()
    await expect(Promise.race([opening, aWhile()])).resolves.toBeUndefined()
    await stop()
    await refused
  })
})
