// The socket: pushes and their delivery over one WebSocket (docs/http-api.md, "The socket").
import { afterEach, describe, expect, test } from 'vitest'
import { openSocket, type TestSocket } from '../support/socket.ts'
import { chain, event, Store } from '../support/store.ts'
import { useParts } from './parts.ts'

const parts = useParts()
const open: TestSocket[] = []
afterEach(() => open.splice(0).forEach((socket) => socket.close()))

async function connect(store: Store, protocols?: string[]): Promise<TestSocket> {
  const socket = await openSocket(store.url, protocols)
  open.push(socket)
  return socket
}

describe('a socket', () => {
  test('begins with the head, the offset and the limits of a push', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    const socket = await connect(store)
    const { head } = await socket.next()
    const look = await store.request('HEAD')
    expect(head).toEqual({
      hello: {
        backend: look.headers.get('livestore-backend-id'),
        head: 3,
        offset: look.headers.get('stream-next-offset'),
        id: 1,
        limits: { events: 100, bytes: 1_048_576, pushes: 16 },
      },
    })
    expect(socket.protocol).toBe('headwater.v1')
  })

  test('acknowledges its own push, and brings it to every other socket', async () => {
    const store = new Store(parts)
    const [writer, reader] = [await connect(store), await connect(store)]
    const hello = (await writer.next()).head['hello']
    await reader.next()
    const batch = JSON.stringify(chain(0, 2))
    writer.send({ push: { id: 7, backend: hello.backend } }, batch)
    const ack = await writer.next()
    expect(ack.head).toEqual({ ack: { push: 7, head: 2, offset: expect.any(String) } })
    const news = await reader.next()
    expect(news.head).toEqual({ events: { parent: 0, head: 2, from: hello.offset, offset: ack.head['ack'].offset } })
    expect(news.batch).toBe(batch)
    expect(await store.eventsInLog()).toEqual(chain(0, 2))
  })

  test('brings what is pushed by HTTP', async () => {
    const store = new Store(parts)
    const socket = await connect(store)
    await socket.next()
    await store.pushed([event(1)])
    expect((await socket.next()).batch).toBe(JSON.stringify([event(1)]))
  })

  test('is told of a batch that is too large to broadcast', async () => {
    const store = new Store(parts)
    const socket = await connect(store)
    await socket.next()
    await store.pushed([event(1, { text: 'x'.repeat(70_000) })])
    expect((await socket.next()).head).toEqual({ moved: { head: 1, offset: expect.any(String) } })
  })

  test('refuses a stale push with the problem of an HTTP answer', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 2))
    const socket = await connect(store)
    await socket.next()
    socket.send({ push: { id: 1 } }, JSON.stringify([event(1, { other: true })]))
    const { refuse } = (await socket.next()).head
    const answer = await store.push([event(1, { other: true })])
    // The writer stands in line now.
    expect(refuse).toEqual({ push: 1, problem: await answer.json(), turn: { line: [1], patienceMs: 200 } })
  })

  test('answers a ping', async () => {
    const socket = await connect(new Store(parts))
    await socket.next()
    socket.sendText('ping')
    expect((await socket.next()).head).toEqual({ pong: true })
  })

  test('is closed at once when its client closes it without a code', async () => {
    const socket = await connect(new Store(parts))
    await socket.next()
    socket.close()
    expect((await socket.closed).code).toBe(1005)
  })

  test('takes no frame after its end', async () => {
    const store = new Store(parts)
    await store.pushed([event(1)])
    const socket = await connect(store)
    await socket.next()
    socket.sendText('no frame')
    socket.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
    expect((await socket.closed).code).toBe(4400)
    await store.pushed([event(2, 'another')])
    expect(await store.eventsInLog()).toEqual([event(1), event(2, 'another')])
  })

  test('learns of a reset', async () => {
    const store = new Store(parts)
    const socket = await connect(store)
    const { hello } = (await socket.next()).head
    await store.request('DELETE')
    const { reset } = (await socket.until('reset')).head
    expect(reset.backend).not.toBe(hello.backend)
    expect((await store.request('HEAD')).headers.get('livestore-backend-id')).toBe(reset.backend)
  })

  test('names the writers that push next, with each news', async () => {
    const store = new Store(parts)
    const [first, second, reader] = await Promise.all([0, 1, 2].map(() => connect(store)))
    if (first === undefined || second === undefined || reader === undefined) throw new Error('no sockets')
    const [a, b] = [(await first.next()).head['hello'].id, (await second.next()).head['hello'].id]
    await reader.next()
    await second.want()
    first.send({ push: { id: 1 } }, JSON.stringify([event(1)]))
    expect((await first.next()).head['ack'].turn.line).toEqual([b])
    expect((await reader.next()).head['events'].turn.line).toEqual([b])
    await first.want()
    second.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
    expect((await second.until('ack')).head['ack'].turn.line).toEqual([a])
    // A writer that leaves is not waited for.
    first.close()
    await first.closed
    await store.pushed([event(3)])
    expect((await reader.until('events')).head['events'].turn.line).toEqual([a])
    expect((await reader.until('events')).head['events'].turn).toBeUndefined()
  })
})
