// The socket of a store, against a server that does what a real one can't be made to do.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ForeignAnswer, ResponseError, TransportError } from '../../client/src/http/errors.ts'
import { type HeadersInput, makeTransport } from '../../client/src/http/transport.ts'
import { problemType } from '../../client/src/protocol/index.js'
import { makeStoreSocket, type SocketPush, type StoreSocket } from '../../client/src/socket/store-socket.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { type FakeSocket, makeFakeSockets, offsetOf } from './support/fake-socket.ts'

const limits = { firstByteTimeoutMs: 5_000, stallTimeoutMs: 45_000, pushTimeoutMs: 30_000 }
const URL = 'https://sync.example.com/v1/stream/default/store'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Promises settle; no time passes. */
const settled = () => vi.advanceTimersByTimeAsync(0)
const forever = new AbortController().signal

const makeWorld = ({
  headers,
  WebSocket,
}: {
  headers?: HeadersInput
  WebSocket?: typeof globalThis.WebSocket
} = {}) => {
  const sockets = makeFakeSockets()
  const transport = makeTransport({ party: 'worker', fetch: undefined, headers, authToken: undefined })
  const store = makeStoreSocket({ url: URL, transport, limits, WebSocket: WebSocket ?? sockets.WebSocket })
  /** The connection that was opened last. */
  const last = async (): Promise<FakeSocket> => {
    await settled()
    const socket = sockets.opened.at(-1)
    if (socket === undefined) throw new Error('no socket was opened')
    return socket
  }
  return { store, opened: sockets.opened, last }
}

/** A store with a listener, whose server has greeted it. */
const openWorld = async (head: number, options: Parameters<typeof makeWorld>[0] & { hello?: object } = {}) => {
  const world = makeWorld(options)
  const listener = world.store.listen()
  const socket = await world.last()
  socket.hello(head, options.hello)
  const next = (seqNum: number, signal = forever) => listener.next(seqNum, signal)
  expect(await next(head)).toMatchObject({ _tag: 'Hello', hello: { head } })
  return { ...world, listener, socket, next }
}

const pushOf = (parent: number, count: number): SocketPush => {
  const messages = eventsFrom(parent, count)
  return { body: JSON.stringify(messages), messages, parent, last: parent + count, backendId: 'backend-1' }
}

/** The outcome of a promise; `pending` while there is none. */
const outcomeOf = async (promise: Promise<unknown>): Promise<unknown> => {
  let outcome: unknown = 'pending'
  promise.then(
    (value) => {
      outcome = value
    },
    (cause: unknown) => {
      outcome = cause
    },
  )
  await settled()
  return outcome
}

const push = (store: StoreSocket, what: SocketPush, signal = forever) => {
  const pushed = store.push(what, signal)
  pushed.catch(() => {})
  return pushed
}

/** Time passes, and the connection gives signs of life. Without them it would end. */
const passAlive = async (socket: FakeSocket, ms: number) => {
  for (let left = ms; left > 0; left -= 10_000) {
    await vi.advanceTimersByTimeAsync(Math.min(left, 10_000))
    socket.receive('pong')
  }
}

const expectNoTimers = () => expect(vi.getTimerCount()).toBe(0)

describe('a connection', () => {
  test('opens once for all that need it, at the address of the store', async () => {
    const { store, opened, last } = makeWorld()
    store.listen()
    store.listen()
    expect(store.canPush(10)).toBe(false)
    const socket = await last()
    expect([opened.length, socket.url, socket.protocols]).toEqual([
      1,
      'wss://sync.example.com/v1/stream/default/store?live=websocket',
      ['headwater.v1'],
    ])
  })

  test('carries a token that may stand in a subprotocol', async () => {
    const { store, last } = makeWorld({ headers: { authorization: 'Bearer aa.bb-_.cc' } })
    store.listen()
    expect((await last()).protocols).toEqual(['headwater.v1', 'bearer.aa.bb-_.cc'])
  })

  test.each([
    ['another header', { authorization: 'Bearer abc', 'x-app': '1' }],
    ['a header other than the token', { 'x-app': '1' }],
    ['a token with a slash', { authorization: 'Bearer a/b=' }],
    ['another scheme', { authorization: 'Basic abc' }],
    ['no token in the header', { authorization: 'Bearer' }],
  ])('is not opened with %s', async (_, headers) => {
    const { store, opened } = makeWorld({ headers })
    expect(await outcomeOf(store.listen().next(0, forever))).toEqual({ _tag: 'NoSocket' })
    expect(store.canPush(10)).toBe(false)
    await settled()
    expect(opened).toEqual([])
    expectNoTimers()
  })

  test('is given up if the constructor throws', async () => {
    const WebSocket = class {
      constructor() {
        throw new SyntaxError('refused by the policy of the page')
      }
    } as unknown as typeof globalThis.WebSocket
    const { store } = makeWorld({ WebSocket })
    expect(await outcomeOf(store.listen().next(0, forever))).toEqual({ _tag: 'NoSocket' })
    expect(store.canPush(10)).toBe(false)
    expectNoTimers()
  })

  test('ends if the function for headers fails', async () => {
    const { store, opened } = makeWorld({
      headers: () => {
        throw new Error('signed out')
      },
    })
    expect(await outcomeOf(store.listen().next(0, forever))).toEqual({ _tag: 'Ended', heard: false })
    expect(opened).toEqual([])
  })

  test('ends if the function for headers does not answer in time', async () => {
    const { store, opened } = makeWorld({ headers: () => new Promise(() => {}) })
    const heard = store.listen().next(0, forever)
    await vi.advanceTimersByTimeAsync(limits.firstByteTimeoutMs)
    expect(await outcomeOf(heard)).toEqual({ _tag: 'Ended', heard: false })
    expect(opened).toEqual([])
    expectNoTimers()
  })

  test('opens once, though an attempt that was given up still waits for its headers', async () => {
    const answers: ((headers: Record<string, string>) => void)[] = []
    const { store, opened } = makeWorld({ headers: () => new Promise((resolve) => answers.push(resolve)) })
    const first = store.listen()
    await settled()
    first.close()
    // The connection is idle for a moment, and then used again
    await vi.advanceTimersByTimeAsync(10_000)
    store.listen()
    await settled()
    expect(answers.length).toBe(2)
    for (const answer of answers) answer({})
    await settled()
    expect(opened.length).toBe(1)
  })

  test('ends if the server does not greet in time', async () => {
    const { store, last } = makeWorld()
    const heard = store.listen().next(0, forever)
    const socket = await last()
    socket.dispatchEvent(new Event('open'))
    // Nothing counts before the greeting
    socket.frame({ moved: { head: 9, offset: offsetOf(9) } })
    await vi.advanceTimersByTimeAsync(limits.firstByteTimeoutMs - 1)
    expect(await outcomeOf(heard)).toBe('pending')
    await vi.advanceTimersByTimeAsync(1)
    expect(await outcomeOf(heard)).toEqual({ _tag: 'Stalled', heard: false })
    expect(socket.isClosed).toBe(true)
    expectNoTimers()
  })

  test.each([
    ['a page', '<!doctype html>'],
    ['JSON of another kind', '"welcome"'],
    ['a Blob', new Blob(['{}'])],
  ])('ends with a stranger that says %s', async (_, data) => {
    const { store, last } = makeWorld()
    const heard = store.listen().next(0, forever)
    const socket = await last()
    socket.receive(data)
    expect(await outcomeOf(heard)).toEqual({ _tag: 'Ended', heard: false })
    expect(socket.isClosed).toBe(true)
    expectNoTimers()
  })

  test.each([
    ['garbage', (socket: FakeSocket) => socket.receive('{"moved":')],
    ['goodbye', (socket: FakeSocket) => socket.frame({ bye: { reason: 'restarted', detail: 'again' } })],
    ['the end', (socket: FakeSocket) => socket.drop()],
    ['an error', (socket: FakeSocket) => socket.dispatchEvent(new Event('error'))],
  ])('that had worked ends with %s', async (_, finish) => {
    const { socket, next, store } = await openWorld(3)
    finish(socket)
    expect(await outcomeOf(next(3))).toEqual({ _tag: 'Ended', heard: true })
    expect([socket.isClosed, store.tip()]).toEqual([true, undefined])
    expectNoTimers()
  })

  test('that has ended changes nothing in the next one', async () => {
    const { store, socket, last } = await openWorld(3)
    socket.drop()
    const next = store.listen()
    const second = await last()
    expect(second).not.toBe(socket)
    second.hello(4)
    socket.frame({ moved: { head: 90, offset: offsetOf(90) } })
    socket.drop()
    expect(store.tip()).toMatchObject({ head: 4 })
    expect(await next.next(4, forever)).toMatchObject({ _tag: 'Hello', hello: { head: 4 } })
    expect(await outcomeOf(next.next(4, forever))).toBe('pending')
  })

  test('ends with a reset, and names the new backend', async () => {
    const { socket, next } = await openWorld(3)
    socket.frame({ reset: { backend: 'backend-2' } })
    expect(await outcomeOf(next(3))).toEqual({ _tag: 'Reset', backend: 'backend-2' })
  })

  test('ignores frames of a later version', async () => {
    const { socket, next } = await openWorld(3)
    socket.frame({ turn: { of: 'you' } })
    socket.frame({ granted: {} })
    expect(await outcomeOf(next(3))).toBe('pending')
  })

  test('tells how much it has received', async () => {
    const { socket } = await openWorld(0)
    const text = 'x'.repeat(100 * 1024)
    for (const seqNum of numbers(0, 4)) {
      const of = { parent: seqNum, head: seqNum + 1, from: offsetOf(seqNum), offset: offsetOf(seqNum + 1) }
      socket.frame({ events: of }, eventsFrom(seqNum, 1, { text }))
    }
    const told = socket.sent.map(({ head }) => head['received'])
    expect(told).toEqual([expect.any(Number)])
    expect(told[0]).toBeGreaterThanOrEqual(256 * 1024)
  })

  test('ends in a runtime that throws where nothing can be sent any more', async () => {
    const { socket, store, next } = await openWorld(3)
    socket.isBroken = true
    expect(store.canPush(10)).toBe(true)
    expect(await outcomeOf(push(store, pushOf(3, 1)))).toBeInstanceOf(TransportError)
    expect(await outcomeOf(next(3))).toEqual({ _tag: 'Ended', heard: true })
    expectNoTimers()
  })
})

describe('silence', () => {
  test('a quiet connection that answers pings stays', async () => {
    const { socket, next } = await openWorld(3)
    const heard = next(3)
    let pings = 0
    for (let i = 0; i < 40; i++) {
      await vi.advanceTimersByTimeAsync(5_000)
      for (const _ of socket.texts.splice(0)) {
        pings++
        socket.receive('pong')
      }
    }
    expect([pings, await outcomeOf(heard)]).toEqual([13, 'pending'])
  })

  test('a connection that dies without a word is found within the time for a stall', async () => {
    const { socket, next } = await openWorld(3)
    const heard = next(3)
    // The worst case: the last sign of life comes right after a look at the clock
    await vi.advanceTimersByTimeAsync(1)
    socket.receive('pong')
    await vi.advanceTimersByTimeAsync(limits.stallTimeoutMs - 2)
    expect([socket.texts, await outcomeOf(heard)]).toEqual([['ping'], 'pending'])
    await vi.advanceTimersByTimeAsync(1)
    expect(await outcomeOf(heard)).toEqual({ _tag: 'Stalled', heard: true })
    expect(socket.isClosed).toBe(true)
    expectNoTimers()
  })

  test('a clock that is set back by a moment does not delay that', async () => {
    const { socket, next } = await openWorld(3)
    const heard = next(3)
    await vi.advanceTimersByTimeAsync(1)
    socket.receive('pong')
    await vi.advanceTimersByTimeAsync(35_000)
    vi.setSystemTime(Date.now() - 5)
    await vi.advanceTimersByTimeAsync(limits.stallTimeoutMs - 35_000)
    expect(await outcomeOf(heard)).toMatchObject({ _tag: 'Stalled' })
  })

  test('a device that wakes up asks before it gives a connection up', async () => {
    const { socket, next } = await openWorld(3)
    const heard = next(3)
    vi.setSystemTime(Date.now() + 3_600_000)
    await vi.advanceTimersByTimeAsync(15_000)
    expect([socket.texts, await outcomeOf(heard)]).toEqual([['ping'], 'pending'])
    socket.receive('pong')
    await vi.advanceTimersByTimeAsync(15_000)
    expect(await outcomeOf(heard)).toBe('pending')
  })
})

describe('a listener', () => {
  test('that comes later is greeted with the tip of now', async () => {
    const { socket, store } = await openWorld(3)
    socket.frame({ moved: { head: 9, offset: offsetOf(9) } })
    const listener = store.listen()
    expect(await listener.next(3, forever)).toMatchObject({
      _tag: 'Hello',
      hello: { backend: 'backend-1', head: 9, offset: offsetOf(9) },
    })
    expect(await listener.next(3, forever)).toEqual({ _tag: 'Behind', head: 9 })
  })

  test('takes events that link, and learns of a gap', async () => {
    const { socket, next, listener } = await openWorld(3)
    const heard = next(3)
    const events = (parent: number, count: number) =>
      socket.frame(
        { events: { parent, head: parent + count, from: offsetOf(parent), offset: offsetOf(parent + count) } },
        eventsFrom(parent, count),
      )
    events(3, 2)
    expect(await outcomeOf(heard)).toMatchObject({
      _tag: 'Batch',
      batch: { parent: 3, head: 5, offset: offsetOf(5), messages: eventsFrom(3, 2) },
    })
    events(6, 1)
    expect([listener.reaches(7), listener.reaches(8)]).toEqual([true, false])
    expect(await outcomeOf(next(5))).toEqual({ _tag: 'Behind', head: 7 })
    // The catch-up has brought event 6
    expect(await outcomeOf(next(6))).toMatchObject({ _tag: 'Batch', batch: { parent: 6, head: 7 } })
  })

  test.each([
    ['events', (socket: FakeSocket) => socket.frame({ events: { parent: 3, head: 4, offset: 'o' } }, eventsFrom(3, 1))],
    ['news of a head', (socket: FakeSocket) => socket.frame({ moved: { head: 4, offset: 'o' } })],
  ])('whose pull has turned to a catch-up still has %s afterward', async (what, say) => {
    const { socket, next } = await openWorld(3)
    const wait = new AbortController()
    const given = next(3, wait.signal)
    await settled()
    wait.abort()
    say(socket)
    expect(await outcomeOf(given)).not.toMatchObject({ _tag: what === 'events' ? 'Batch' : 'Behind' })
    expect(await outcomeOf(next(3))).toMatchObject({ _tag: what === 'events' ? 'Batch' : 'Behind' })
  })

  test('receives what came before the end', async () => {
    const { socket, next } = await openWorld(3)
    socket.frame({ events: { parent: 3, head: 4, offset: 'o' } }, eventsFrom(3, 1))
    socket.drop()
    expect(await outcomeOf(next(3))).toMatchObject({ _tag: 'Batch' })
    expect(await outcomeOf(next(4))).toEqual({ _tag: 'Ended', heard: true })
  })
})

describe('a push', () => {
  test('is answered, and gives its own events to every pull', async () => {
    const { socket, store, next } = await openWorld(3)
    expect(store.canPush(10)).toBe(true)
    const what = pushOf(3, 2)
    const pushed = push(store, what)
    const { head, batch } = socket.sent.at(-1)!
    expect([head, batch]).toEqual([{ push: { id: socket.lastPush, backend: 'backend-1' } }, what.body])
    socket.ack(socket.lastPush, 5)
    expect(await pushed).toEqual({ head: 5, backend: 'backend-1' })
    expect(await outcomeOf(next(3))).toMatchObject({
      _tag: 'Batch',
      batch: { parent: 3, head: 5, offset: offsetOf(5), messages: what.messages },
    })
    expect(store.tip()).toEqual(expect.objectContaining({ backend: 'backend-1', head: 5, offset: offsetOf(5) }))
  })

  test('keeps its place among the events of others', async () => {
    const { socket, store, next } = await openWorld(3)
    const pushed = push(store, pushOf(4, 1))
    socket.frame({ events: { parent: 3, head: 4, offset: 'o' } }, eventsFrom(3, 1, {}, 'another'))
    socket.ack(socket.lastPush, 5)
    socket.frame({ events: { parent: 5, head: 6, offset: offsetOf(6) } }, eventsFrom(5, 1, {}, 'another'))
    await pushed
    expect(await outcomeOf(next(3))).toMatchObject({
      batch: {
        parent: 3,
        head: 6,
        messages: [...eventsFrom(3, 1, {}, 'another'), ...eventsFrom(4, 1), ...eventsFrom(5, 1, {}, 'another')],
      },
    })
  })

  test('that is acknowledged below its end gives nothing', async () => {
    const { socket, store, next } = await openWorld(3)
    const pushed = push(store, pushOf(3, 2))
    socket.ack(socket.lastPush, 4)
    expect(await pushed).toEqual({ head: 4, backend: 'backend-1' })
    expect(await outcomeOf(next(3))).toEqual({ _tag: 'Behind', head: 4 })
  })

  test('is refused with a problem of the server', async () => {
    const { socket, store } = await openWorld(3)
    const problem = { type: problemType('overloaded'), status: 503, title: 'Overloaded' }
    const pushed = push(store, pushOf(3, 1))
    socket.frame({ refuse: { push: socket.lastPush, problem, retryAfterMs: 1_000 } })
    const refusal = await outcomeOf(pushed)
    expect(refusal).toBeInstanceOf(ResponseError)
    expect(refusal).toMatchObject({ url: URL, status: 503, problem, retryAfterMs: 1_000 })
  })

  test.each([
    ['without a type', {}],
    ['with the type of a stranger', { type: 'https://portal.example.com/blocked', status: 403 }],
  ])('that is refused %s has no answer', async (_, problem) => {
    const { socket, store } = await openWorld(3)
    const pushed = push(store, pushOf(3, 1))
    socket.frame({ refuse: { push: socket.lastPush, problem } })
    expect(await outcomeOf(pushed)).toBeInstanceOf(ForeignAnswer)
  })

  test('fails if the connection ends before the answer', async () => {
    const { socket, store } = await openWorld(3)
    const pushed = [push(store, pushOf(3, 1)), push(store, pushOf(4, 1))]
    socket.drop()
    for (const one of pushed) expect(await outcomeOf(one)).toBeInstanceOf(TransportError)
    expect(store.canPush(10)).toBe(false)
  })

  test('that LiveStore interrupts gives its events all the same once they are acknowledged', async () => {
    const { socket, store, next } = await openWorld(3)
    const interruption = new AbortController()
    const what = pushOf(3, 1)
    const pushed = push(store, what, interruption.signal)
    interruption.abort()
    expect(await outcomeOf(pushed)).toMatchObject({ message: 'the push was given up' })
    socket.ack(socket.lastPush, 4)
    expect(await outcomeOf(next(3))).toMatchObject({ _tag: 'Batch', batch: { head: 4, messages: what.messages } })
    await passAlive(socket, limits.pushTimeoutMs)
    expect(store.canPush(10)).toBe(true)
  })

  test('that LiveStore interrupted before it began is not sent', async () => {
    const { socket, store } = await openWorld(3)
    expect(await outcomeOf(push(store, pushOf(3, 1), AbortSignal.abort()))).toBeInstanceOf(TransportError)
    expect(socket.sent).toEqual([])
  })

  test('that gets no answer in time fails, and the next ones go by HTTP for some minutes', async () => {
    const { socket, store, next } = await openWorld(3)
    const pushed = push(store, pushOf(3, 1))
    const id = socket.lastPush
    // A proxy may let small frames through, and no large ones
    await passAlive(socket, limits.pushTimeoutMs)
    expect(await outcomeOf(pushed)).toMatchObject({ _tag: 'TransportError', timedOut: true })
    expect(store.canPush(10)).toBe(false)
    // An answer after all: its events reach the pull
    socket.ack(id, 4)
    expect(await outcomeOf(next(3))).toEqual({ _tag: 'Behind', head: 4 })
    await passAlive(socket, 10 * 60_000)
    expect(store.canPush(10)).toBe(true)
  })

  test('goes by HTTP if it is large, or if too many wait', async () => {
    const { store } = await openWorld(3, { hello: { limits: { events: 100, bytes: 1024, pushes: 2 } } })
    expect([store.canPush(256 * 1024), store.canPush(256 * 1024 + 1)]).toEqual([true, false])
    void push(store, pushOf(3, 1))
    expect(store.canPush(10)).toBe(true)
    void push(store, pushOf(4, 1))
    expect(store.canPush(10)).toBe(false)
  })

  test('opens a connection for the ones that follow, which closes if none does', async () => {
    const { store, last } = makeWorld()
    expect(store.canPush(10)).toBe(false)
    const socket = await last()
    socket.hello(3)
    expect(store.canPush(10)).toBe(true)
    const pushed = push(store, pushOf(3, 1))
    // An answer that takes long
    await vi.advanceTimersByTimeAsync(20_000)
    expect(socket.isClosed).toBe(false)
    socket.ack(socket.lastPush, 4)
    await pushed
    await vi.advanceTimersByTimeAsync(9_999)
    expect(socket.isClosed).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(socket.isClosed).toBe(true)
    expectNoTimers()
  })

  test('does not open a connection again that has brought nothing, however long ago', async () => {
    const { store, opened, last } = makeWorld()
    const listener = store.listen()
    ;(await last()).drop()
    listener.close()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(store.canPush(10)).toBe(false)
    await settled()
    expect(opened.length).toBe(1)
    // A pull tries again
    store.listen()
    ;(await last()).hello(3)
    expect([opened.length, store.canPush(10)]).toEqual([2, true])
  })
})

describe('a token', () => {
  const renewing = async (expiresInMs: number) => {
    let asked = 0
    const headers = () => {
      asked++
      return { authorization: `Bearer token-${asked}` }
    }
    const world = await openWorld(3, { headers, hello: { expiresInMs } })
    const tokens = () => world.socket.sent.flatMap(({ head }) => head['token'] ?? [])
    return { ...world, tokens, pass: (ms: number) => passAlive(world.socket, ms) }
  }

  test.each([
    ['of an hour', 3_600_000, 3_570_000],
    ['of half a minute', 30_000, 15_000],
  ])('%s is renewed before its end, and again after that', async (_, expiresInMs, renewedAt) => {
    const { tokens, pass, socket } = await renewing(expiresInMs)
    await pass(renewedAt - 1)
    expect(tokens()).toEqual([])
    await pass(1)
    expect(tokens()).toEqual(['token-2'])
    socket.frame({ granted: { expiresInMs: 60_000 } })
    await pass(30_000)
    expect(tokens()).toEqual(['token-2', 'token-3'])
    socket.frame({ granted: {} })
    await pass(3_600_000)
    expect(tokens()).toEqual(['token-2', 'token-3'])
  })

  test('that comes after the connection has ended goes nowhere', async () => {
    const answers: ((headers: Record<string, string>) => void)[] = []
    const { store, last } = makeWorld({ headers: () => new Promise((resolve) => answers.push(resolve)) })
    store.listen()
    await settled()
    answers.shift()?.({ authorization: 'Bearer first' })
    const socket = await last()
    socket.hello(3, { expiresInMs: 20_000 })
    await vi.advanceTimersByTimeAsync(10_000)
    socket.drop()
    store.listen()
    await settled()
    const [renewal, reopening] = answers
    reopening?.({ authorization: 'Bearer second' })
    const second = await last()
    second.hello(3)
    renewal?.({ authorization: 'Bearer late' })
    await settled()
    expect([socket.sent, second.sent]).toEqual([[], []])
  })

  test('that the app can not give leaves the connection as it is', async () => {
    let isSignedIn = true
    const headers = () => {
      if (!isSignedIn) throw new Error('signed out')
      return { authorization: 'Bearer abc' }
    }
    const { socket, next } = await openWorld(3, { headers, hello: { expiresInMs: 20_000 } })
    isSignedIn = false
    await vi.advanceTimersByTimeAsync(10_000)
    expect([socket.sent, await outcomeOf(next(3))]).toEqual([[], 'pending'])
  })
})

describe('the end', () => {
  test('leaves no timer and opens nothing again', async () => {
    const { store, socket, next, listener, opened } = await openWorld(3, { hello: { expiresInMs: 60_000 } })
    const pushed = push(store, pushOf(3, 1))
    store.close()
    expect(await outcomeOf(pushed)).toBeInstanceOf(TransportError)
    expect(await outcomeOf(next(3))).toEqual({ _tag: 'Ended', heard: true })
    expect(socket.isClosed).toBe(true)
    listener.close()
    expectNoTimers()
    expect(await outcomeOf(store.listen().next(3, forever))).toEqual({ _tag: 'NoSocket' })
    expect(store.canPush(10)).toBe(false)
    await settled()
    expect(opened.length).toBe(1)
    expectNoTimers()
  })

  test('comes too early for a connection that waits for its headers', async () => {
    const { store, opened } = makeWorld({ headers: async () => ({}) })
    const listener = store.listen()
    store.close()
    listener.close()
    await settled()
    expect(opened).toEqual([])
    expectNoTimers()
  })
})

const turnOf = async (store: StoreSocket, parent: number, signal: AbortSignal) => store.untilTurn(parent, signal)

describe('a turn', () => {
  const moved = (head: number, line: number[]) => ({
    moved: { head, offset: offsetOf(head), turn: { line, patienceMs: 100 } },
  })
  const wanted = (socket: FakeSocket) => socket.sent.filter(({ head }) => 'want' in head).length

  test('need not be waited for while nobody contends', async () => {
    const { store, socket } = await openWorld(3)
    expect(await outcomeOf(turnOf(store, 3, forever))).toBeUndefined()
    expect(wanted(socket)).toBe(0)
  })

  test('of this client begins at once', async () => {
    const { store, socket } = await openWorld(3)
    socket.frame(moved(4, [1, 2]))
    expect(await outcomeOf(turnOf(store, 4, forever))).toBeUndefined()
    expect(wanted(socket)).toBe(0)
  })

  test('of others is waited for, and this client says once that it wants one', async () => {
    const { store, socket } = await openWorld(3)
    socket.frame(moved(4, [2, 3]))
    const turn = turnOf(store, 4, forever)
    expect(await outcomeOf(turn)).toBe('pending')
    await vi.advanceTimersByTimeAsync(199)
    expect(await outcomeOf(turn)).toBe('pending')
    expect(wanted(socket)).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(await outcomeOf(turn)).toBeUndefined()
  })

  test('is asked for once, though a long line does not name this client', async () => {
    const { store, socket } = await openWorld(3)
    const others = Array.from({ length: 16 }, (_, i) => i + 2)
    for (const head of [4, 5, 6]) {
      socket.frame(moved(head, others))
      expect(await outcomeOf(turnOf(store, head, forever))).toBe('pending')
    }
    expect(wanted(socket)).toBe(1)
    const pushed = push(store, pushOf(6, 1))
    socket.frame({ ack: { push: 1, head: 7, offset: offsetOf(7), turn: { line: others, patienceMs: 100 } } })
    await pushed
    expect(await outcomeOf(turnOf(store, 7, forever))).toBe('pending')
    expect(wanted(socket)).toBe(2)
  })

  test('of others ends when the head moves: the batch is stale then', async () => {
    const { store, socket } = await openWorld(3)
    socket.frame(moved(4, [2]))
    const turn = turnOf(store, 4, forever)
    expect(await outcomeOf(turn)).toBe('pending')
    socket.frame(moved(5, [1]))
    expect(await outcomeOf(turn)).toBeUndefined()
    expect(store.tip()?.head).toBe(5)
  })

  test('is waited for by the place in the line', async () => {
    const { store, socket } = await openWorld(3)
    socket.frame(moved(4, [2, 1]))
    const turn = turnOf(store, 4, forever)
    expect(await outcomeOf(turn)).toBe('pending')
    expect(wanted(socket)).toBe(0)
    await vi.advanceTimersByTimeAsync(100)
    expect(await outcomeOf(turn)).toBeUndefined()
  })

  test('is not waited for by a push that LiveStore interrupts', async () => {
    const { store, socket } = await openWorld(3)
    socket.frame(moved(4, [2]))
    const interrupted = new AbortController()
    const turn = turnOf(store, 4, interrupted.signal)
    expect(await outcomeOf(turn)).toBe('pending')
    interrupted.abort()
    expect(await outcomeOf(turn)).toBeUndefined()
  })

  test('is not waited for once the connection is gone', async () => {
    const { store, socket } = await openWorld(3)
    socket.frame(moved(4, [2]))
    const turn = turnOf(store, 4, forever)
    expect(await outcomeOf(turn)).toBe('pending')
    socket.drop()
    expect(await outcomeOf(turn)).toBeUndefined()
  })

  test('of the last connection means nothing in the next one', async () => {
    const { store, socket, last } = await openWorld(3)
    socket.frame(moved(4, [2]))
    socket.drop()
    store.listen()
    const next = await last()
    next.hello(4)
    expect(await outcomeOf(turnOf(store, 4, forever))).toBeUndefined()
  })
})
