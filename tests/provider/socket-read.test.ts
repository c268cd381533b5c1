// What a socket brings, as the outcomes of a live pull.
import { expect, test } from 'vitest'
import { makeTransport } from '../../client/src/http/transport.ts'
import { makeCommandRunner } from '../../client/src/reading/pull-commands.ts'
import { listenOnSocket } from '../../client/src/reading/socket-read.ts'
import { makeStoreSocket } from '../../client/src/socket/store-socket.ts'
import { eventsFrom } from '../support/events.ts'
import { type FakeSocket, makeFakeSockets, offsetOf } from './support/fake-socket.ts'

const URL = 'https://sync.example.com/v1/stream/default/store'
const limits = { firstByteTimeoutMs: 5_000, stallTimeoutMs: 45_000, pushTimeoutMs: 30_000 }
const forever = new AbortController().signal

const query = {
  offset: offsetOf(3),
  after: undefined,
  live: 'websocket',
  cursor: undefined,
  backendId: 'backend-1',
  nonce: undefined,
  fresh: false,
} as const

const makeWorld = () => {
  const { WebSocket, opened } = makeFakeSockets()
  const transport = makeTransport({ party: 'worker', fetch: undefined, headers: undefined, authToken: undefined })
  const socket = makeStoreSocket({ url: URL, transport, limits, WebSocket })
  const server = async (): Promise<FakeSocket> => {
    await new Promise((resolve) => setTimeout(resolve))
    return opened.at(-1)!
  }
  return { socket, transport, server }
}

/** A read at event 3 that the server has greeted. */
const openRead = async (hello: { head: number; backend?: string }, remembered = true) => {
  const { socket, server } = makeWorld()
  const read = listenOnSocket(socket, URL, remembered ? 'backend-1' : undefined)
  const connection = await server()
  connection.hello(hello.head, { backend: hello.backend ?? 'backend-1' })
  const close = () => {
    read.close()
    socket.close()
  }
  return { connection, next: (seqNum = 3) => read.next(seqNum, forever), close }
}

test('without a socket the read says so', async () => {
  expect(await listenOnSocket(undefined, URL, undefined).next(0, forever)).toEqual({ _tag: 'NoSocket' })
})

test('a greeting at the end of the pull is an empty page, which shows that the socket works', async () => {
  const { next, close } = await openRead({ head: 3 })
  expect(await next()).toMatchObject({
    _tag: 'Page',
    page: { messages: [], next: offsetOf(3), upToDate: true, head: 3, backendId: 'backend-1' },
  })
  close()
})

test('a greeting with a later head asks for a catch-up', async () => {
  const { next, close } = await openRead({ head: 5 })
  expect(await next()).toEqual({ _tag: 'Behind', head: 5 })
  close()
})

test('a greeting with an earlier head, of a server that lags behind, says nothing', async () => {
  const { next, connection, close } = await openRead({ head: 2 })
  const heard = next()
  connection.frame({ events: { parent: 3, head: 4, offset: offsetOf(4) } }, eventsFrom(3, 1))
  expect(await heard).toMatchObject({ _tag: 'Page', page: { messages: eventsFrom(3, 1), next: offsetOf(4), head: 4 } })
  close()
})

test('a greeting of another backend is reported with its id', async () => {
  const { next, close } = await openRead({ head: 3, backend: 'backend-2' })
  expect(await next()).toMatchObject({ _tag: 'Failed', backendId: 'backend-2' })
  close()
})

test('a device that knows no backend learns it from the page', async () => {
  const { next, close } = await openRead({ head: 3, backend: 'backend-2' }, false)
  expect(await next()).toMatchObject({ _tag: 'Page', page: { backendId: 'backend-2' } })
  close()
})

test.each([
  ['the end', (connection: FakeSocket) => connection.drop(), { _tag: 'Cut' }],
  [
    'a reset',
    (connection: FakeSocket) => connection.frame({ reset: { backend: 'backend-2' } }),
    { _tag: 'Failed', backendId: 'backend-2' },
  ],
])('%s of a socket that had worked', async (_, finish, outcome) => {
  const { next, connection, close } = await openRead({ head: 3 })
  await next()
  finish(connection)
  expect(await next()).toMatchObject(outcome)
  close()
})

test('a socket that ends before the greeting', async () => {
  const { socket, server } = makeWorld()
  const read = listenOnSocket(socket, URL, undefined)
  ;(await server()).drop()
  expect(await read.next(3, forever)).toEqual({ _tag: 'Ended' })
  socket.close()
})

test('what arrives while the pull catches up beside the socket is not lost', async () => {
  const { socket, transport, server } = makeWorld()
  const source = {
    url: URL,
    urlOfIncarnation: undefined,
    transport,
    socket,
    askBackendId: async () => 'backend-1',
    directLog: undefined,
  }
  const backendId = { remembered: () => 'backend-1', observe: async () => {} }
  const runner = makeCommandRunner(source, backendId, limits, forever)
  const next = (withinMs: number) => runner.perform({ _tag: 'Next', seqNum: 3, withinMs })
  await runner.perform({ _tag: 'Listen', query })
  const connection = await server()
  connection.hello(3)
  expect(await next(10_000)).toMatchObject({ _tag: 'Page' })
  expect(await next(1)).toEqual({ _tag: 'Elapsed' })
  connection.frame({ moved: { head: 4, offset: offsetOf(4) } })
  await new Promise((resolve) => setTimeout(resolve))
  expect([runner.reaches(4), await next(1_000)]).toEqual([true, { _tag: 'Behind', head: 4 }])
  runner.closeConnection()
  socket.close()
})
