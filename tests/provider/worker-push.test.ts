// Pushes over a socket: what counts as an answer, and what needs none. push.test.ts has the pushes by HTTP.
import { BackendIdMismatchError, ServerAheadError } from '@livestore/common'
import { describe, expect, test } from 'vitest'
import { ForeignAnswer, ResponseError, TransportError, toPushError } from '../../client/src/http/errors.ts'
import { makeTransport } from '../../client/src/http/transport.ts'
import { problemType } from '../../client/src/protocol/index.js'
import { makeStoreSocket } from '../../client/src/socket/store-socket.ts'
import { chunkOf } from '../../client/src/writing/chunks.ts'
import { makeWorkerPush } from '../../client/src/writing/worker-push.ts'
import { eventsFrom } from '../support/events.ts'
import { makeFakeSockets } from './support/fake-socket.ts'

const URL = 'https://sync.example.com/v1/stream/default/store'
const limits = { firstByteTimeoutMs: 5_000, stallTimeoutMs: 45_000, pushTimeoutMs: 30_000 }

/** A writer whose socket is open, at this head of `backend-1`. */
const openWriter = async (
  head: number,
  { remembered, confirmed }: { remembered: string | undefined; confirmed?: string } = { remembered: 'backend-1' },
) => {
  const { WebSocket, opened } = makeFakeSockets()
  const posts: string[] = []
  const fetch = async (_: unknown, init?: RequestInit) => {
    posts.push(String(init?.body))
    throw new TypeError('no network')
  }
  const transport = makeTransport({ party: 'worker', fetch, headers: undefined, authToken: undefined })
  const socket = makeStoreSocket({ url: URL, transport, limits, WebSocket })
  const learned: string[] = []
  let asked = 0
  const writer = makeWorkerPush({
    url: URL,
    transport,
    socket,
    timeoutMs: limits.pushTimeoutMs,
    backendId: { remembered: () => remembered, observe: async (id) => void learned.push(id) },
    askBackendId: async () => {
      asked++
      return confirmed
    },
  })
  const listener = socket.listen()
  await new Promise((resolve) => setTimeout(resolve))
  const server = opened[0]!
  server.hello(head)
  const send = (parent: number, count: number) => {
    const sent = writer.send(chunkOf(eventsFrom(parent, count)), new AbortController().signal)
    sent.catch(() => {})
    return sent
  }
  const close = () => {
    listener.close()
    socket.close()
  }
  return { server, send, close, posts, learned, asked: () => asked }
}

const failureOf = (sent: Promise<void>): Promise<unknown> =>
  sent.then(
    () => 'sent',
    (cause: unknown) => cause,
  )

test('a push goes over the open socket, with the backend that this device knows', async () => {
  const { server, send, close, posts, learned } = await openWriter(3)
  const sent = send(3, 2)
  expect(server.sent).toEqual([
    { head: { push: { id: 1, backend: 'backend-1' } }, batch: JSON.stringify(eventsFrom(3, 2)) },
  ])
  server.ack(1, 5)
  await sent
  expect([posts, learned]).toEqual([[], []])
  close()
})

test('a push may be the first contact with a backend', async () => {
  const { server, send, close, learned } = await openWriter(0, { remembered: undefined })
  const sent = send(0, 1)
  expect(server.sent.map(({ head }) => head)).toEqual([{ push: { id: 1 } }])
  server.ack(1, 1)
  await sent
  expect(learned).toEqual(['backend-1'])
  close()
})

test('a push of a device that knows no backend is never refused locally', async () => {
  const { server, send, close } = await openWriter(9, { remembered: undefined })
  void send(3, 1)
  expect(server.sent.length).toBe(1)
  close()
})

test.each([
  ['below the end of the batch', 3, 4, 'backend-1'],
  ['of another backend', 3, 5, 'backend-of-another-time'],
])('an acknowledgement %s is none', async (_, head, acknowledged, remembered) => {
  const { server, send, close } = await openWriter(head, { remembered })
  const sent = send(3, 2)
  server.ack(1, acknowledged)
  const failure = await failureOf(sent)
  expect(failure).toBeInstanceOf(ForeignAnswer)
  expect((failure as Error).message).toMatch(/does not acknowledge the events 4 to 5 of this store/)
  close()
})

test('an acknowledgement beyond the batch counts: others may have pushed since', async () => {
  const { server, send, close } = await openWriter(3)
  const sent = send(3, 2)
  server.ack(1, 9)
  expect(await failureOf(sent)).toBe('sent')
  close()
})

test('a connection that ends is no answer: the push goes by HTTP then', async () => {
  const { server, send, close, posts } = await openWriter(3)
  const sent = send(3, 2)
  server.drop()
  // There is no network.
  expect(await failureOf(sent)).toBeInstanceOf(TransportError)
  expect(posts.length).toBe(1)
  // The next one does not wait for another connection
  expect(await failureOf(send(3, 2))).toBeInstanceOf(TransportError)
  expect(posts.length).toBe(2)
  close()
})

describe('a stale push', () => {
  test.each([
    ['whose parent is below the head', 5, 3, 1],
    ['that ends beyond the head', 5, 3, 3],
  ])('%s is refused without a word to the server', async (_, head, parent, count) => {
    const { server, send, close, posts } = await openWriter(head)
    const failure = await failureOf(send(parent, count))
    expect(failure).toEqual(
      new ServerAheadError({ minimumExpectedNum: (head + 1) as never, providedNum: (parent + 1) as never }),
    )
    expect([server.sent, posts]).toEqual([[], []])
    close()
  })

  test('is refused by the events of others that have come since', async () => {
    const { server, send, close } = await openWriter(3)
    server.frame({ events: { parent: 3, head: 4, offset: 'o' } }, eventsFrom(3, 1, {}, 'another'))
    expect(await failureOf(send(3, 2))).toBeInstanceOf(ServerAheadError)
    expect(server.sent).toEqual([])
    close()
  })

  test('is refused if it ends at the head, and the event there is another one', async () => {
    const { server, send, close } = await openWriter(3)
    server.frame({ events: { parent: 3, head: 5, offset: 'o' } }, eventsFrom(3, 2, {}, 'another'))
    expect(await failureOf(send(3, 2))).toBeInstanceOf(ServerAheadError)
    expect(server.sent).toEqual([])
    close()
  })

  test('is refused if another writer of the line lands a batch of the same length first', async () => {
    const { server, send, close } = await openWriter(3)
    server.frame({ moved: { head: 3, offset: 'o', turn: { line: [7], patienceMs: 10_000 } } })
    const sent = send(3, 1)
    server.frame({ events: { parent: 3, head: 4, offset: 'o' } }, eventsFrom(3, 1, {}, 'another'))
    expect(await failureOf(sent)).toBeInstanceOf(ServerAheadError)
    expect(server.sent.map(({ head }) => head)).toEqual([{ want: true }])
    close()
  })

  test('is sent if it ends at the head, and the event there is its own: an earlier attempt landed', async () => {
    const { server, send, close } = await openWriter(3)
    server.frame({ events: { parent: 3, head: 5, offset: 'o' } }, eventsFrom(3, 2))
    const sent = send(3, 2)
    expect(server.sent.length).toBe(1)
    server.ack(1, 5)
    expect(await failureOf(sent)).toBe('sent')
    close()
  })

  test('is sent if it ends at the head: it may have made that head, and its acknowledgement was lost', async () => {
    const { server, send, close } = await openWriter(5)
    const sent = send(3, 2)
    expect(server.sent.length).toBe(1)
    server.ack(1, 5)
    expect(await failureOf(sent)).toBe('sent')
    close()
  })

  test('is sent if the server has another backend, which it is asked about', async () => {
    const { server, send, close, asked } = await openWriter(5, { remembered: 'old', confirmed: 'backend-1' })
    const sent = send(3, 1)
    const problem = {
      type: problemType('backend-mismatch'),
      status: 409,
      _tag: 'BackendIdMismatchError',
      expected: 'backend-1',
      received: 'old',
    }
    server.frame({ refuse: { push: 1, problem } })
    const failure = await failureOf(sent)
    expect(toPushError(failure as ResponseError)).toEqual(
      new BackendIdMismatchError({ expected: 'backend-1', received: 'old' }),
    )
    expect(asked()).toBe(1)
    close()
  })
})

describe('a refusal', () => {
  const serverAhead = (providedNum: number) => ({
    type: problemType('server-ahead'),
    status: 409,
    _tag: 'ServerAheadError',
    minimumExpectedNum: 9,
    providedNum,
  })
  const mismatch = {
    type: problemType('backend-mismatch'),
    status: 409,
    _tag: 'BackendIdMismatchError',
    expected: 'backend-2',
    received: 'backend-1',
  }

  test.each([
    ['of this push', serverAhead(4), ResponseError],
    ['of another push', serverAhead(7), ForeignAnswer],
    ['for a backend that the server does not confirm', mismatch, ForeignAnswer],
    ['for a lack of rights', { type: problemType('forbidden'), status: 403 }, ResponseError],
    ['that can pass', { type: problemType('overloaded'), status: 503 }, ResponseError],
    ['of a stranger', { title: 'blocked', status: 403 }, ForeignAnswer],
  ])('%s', async (_, problem, kind) => {
    const { server, send, close } = await openWriter(3, { remembered: 'backend-1', confirmed: 'backend-1' })
    const sent = send(3, 1)
    server.frame({ refuse: { push: 1, problem } })
    expect(await failureOf(sent)).toBeInstanceOf(kind)
    close()
  })
})
