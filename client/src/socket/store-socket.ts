/** The socket of one store: its live pulls and its pushes share one connection, which is open while they need it. */
import { ForeignAnswer, type HttpFailure, ResponseError, TransportError } from '../http/errors.ts'
import { attempt, sleep, type Transport } from '../http/transport.ts'
import { problemKind } from '../protocol/index.js'
import { type Hello, type ServerFrame, SUBPROTOCOL, TOKEN_PREFIX } from './frame.ts'
import { type Batch, type FrameQueue, makeFrameQueue } from './frame-queue.ts'
import { openSession, type Session, type SessionLimits } from './session.ts'
import { NO_TURN, standsInLine, type Turn, waitMs } from './turns.ts'

export interface StoreSocketDeps {
  /** The Worker's URL of the store. */
  readonly url: string
  readonly transport: Transport
  readonly limits: SessionLimits & { readonly pushTimeoutMs: number }
  /** The runtime's own, or the app's. */
  readonly WebSocket: typeof globalThis.WebSocket
}

/** How a connection ended, for a pull that listened. */
export type SocketEnd =
  /** `heard`: the server had greeted. */
  | { readonly _tag: 'Ended'; readonly heard: boolean }
  | { readonly _tag: 'Stalled'; readonly heard: boolean }
  /** The app's headers can't travel with a WebSocket. */
  | { readonly _tag: 'NoSocket' }
  /** Another incarnation took the log's place. */
  | { readonly _tag: 'Reset'; readonly backend: string }

export type Heard = { readonly _tag: 'Hello'; readonly hello: Hello } | ReturnType<FrameQueue['take']> | SocketEnd

export interface Listener {
  /** What comes behind `seqNum`. The first thing is the greeting. Once the signal is aborted, nothing is taken. */
  readonly next: (seqNum: number, signal: AbortSignal) => Promise<Exclude<Heard, undefined>>
  /** Whether what has come, or was reported, reaches this event. */
  readonly reaches: (seqNum: number) => boolean
  readonly close: () => void
}

export interface SocketPush {
  readonly body: string
  /** The events of the body, as its reader would see them. */
  readonly messages: ReadonlyArray<unknown>
  readonly parent: number
  readonly last: number
  readonly backendId: string | undefined
}

/** The server has the events of a push. */
export interface SocketAck {
  readonly head: number
  readonly backend: string
}

export interface SocketTip {
  readonly backend: string
  readonly head: number
  /** The offset behind the head. */
  readonly offset: string
  /** The event at the head, if the socket brought it. */
  readonly event?: unknown
}

export interface StoreSocket {
  readonly listen: () => Listener
  /** The tip that the server has told last; undefined without a connection. */
  readonly tip: () => SocketTip | undefined
  /** Whether a push of so many characters can be sent now. If there is no connection, one opens for the next pushes. */
  readonly canPush: (length: number) => boolean
  /**
   * Waits while other writers push first, if the batch follows the head. Resolves as soon as the head has moved: then the batch
   * is stale. Undefined if there is nobody to wait for.
   */
  readonly untilTurn: (parent: number, signal: AbortSignal) => Promise<void> | undefined
  /** Rejects with an `HttpFailure`. Without an answer the push may have landed. */
  readonly push: (push: SocketPush, signal: AbortSignal) => Promise<SocketAck>
  /** Ends the connection. No other one opens. */
  readonly close: () => void
}

interface Pending {
  readonly push: SocketPush
  readonly resolve: (ack: SocketAck) => void
  readonly reject: (failure: HttpFailure) => void
}

/** How long a connection that nobody uses stays open. */
const LINGER_MS = 10_000

/** A larger push goes by HTTP: it would hold back what the socket brings. */
const MAX_PUSH_LENGTH = 256 * 1024

/** A push got no answer, though HTTP may bring one. So long the next ones go by HTTP. */
const NO_PUSH_MS = 10 * 60_000

/** The server's clock may be ahead of a token's end by a minute (docs/security.md). By this time before its end, the app has a new one. */
const RENEW_BEFORE_MS = 30_000

export const makeStoreSocket = ({ url, transport, limits, WebSocket }: StoreSocketDeps): StoreSocket => {
  const listeners = new Set<OpenListener>()
  const pending = new Map<number, Pending>()
  let session: Session | undefined
  /** The attempt to open a session that counts. */
  let opening: symbol | undefined
  let isClosed = false
  let hello: Hello | undefined
  let tip: SocketTip | undefined
  let lastPush = 0
  let turn: Turn & { readonly since: number } = { ...NO_TURN, since: 0 }
  /** Whether this client stands in line. Each `want` wakes the Sequencer, so one is enough. */
  let stands = false
  /** Each ends a wait for a turn. */
  const turnWaits = new Set<() => void>()
  let renewal: ReturnType<typeof setTimeout> | undefined
  let linger: ReturnType<typeof setTimeout> | undefined
  /** The last connection brought nothing. Only a pull tries again. */
  let hasFailed = false
  let noPushUntil = 0

  const end = (ended: SocketEnd) => {
    if (session !== undefined || ended._tag === 'NoSocket') hasFailed = hello === undefined
    session?.close()
    clearTimeout(linger)
    session = hello = tip = opening = undefined
    clearTimeout(renewal)
    for (const { reject } of pending.values())
      reject(new TransportError('the socket closed before it brought the answer'))
    pending.clear()
    for (const listener of listeners) listener.end(ended)
    listeners.clear()
    for (const endWait of turnWaits) endWait()
  }

  const endQuietly = () => end({ _tag: 'Ended', heard: hello !== undefined })

  const isOpen = () => session !== undefined || opening !== undefined
  const isUsed = () => listeners.size > 0 || pending.size > 0

  /** More pushes may follow soon. */
  const closeIfUnused = () => {
    clearTimeout(linger)
    if (isOpen() && !isUsed()) linger = setTimeout(() => isUsed() || endQuietly(), LINGER_MS)
  }

  const onHello = (greeting: Hello) => {
    hello = greeting
    tip = greeting
    turn = { ...NO_TURN, since: 0 }
    stands = false
    renewLater(greeting.expiresInMs)
    for (const listener of listeners) listener.hello(greeting)
  }

  const observeHead = ({ head, offset, event }: Pick<SocketTip, 'head' | 'offset' | 'event'>) => {
    if (tip !== undefined && head > tip.head) tip = { ...tip, head, offset, event }
    for (const { queue, wake } of listeners) {
      queue.observeHead(head)
      wake()
    }
  }

  const deliver = (batch: Batch) => {
    for (const { queue } of listeners) queue.add(batch)
    const { head, offset, messages } = batch
    observeHead({ head, offset, event: messages.at(-1) })
  }

  const onFrame = (frame: ServerFrame) => {
    if ('turn' in frame) {
      turn = { ...frame.turn, since: Date.now() }
      // A batch that has landed ended its writer's turn.
      stands = hello !== undefined && standsInLine(turn, hello.id, stands && frame._tag !== 'Ack')
    }
    handle(frame)
    for (const endWait of turnWaits) endWait()
  }

  const handle = (frame: ServerFrame) => {
    switch (frame._tag) {
      case 'Events':
        return deliver(frame)
      case 'Moved':
        return observeHead(frame)
      case 'Ack':
        return onAck(frame)
      case 'Refuse':
        // The app may have a token by now that permits more.
        if (frame.problem['status'] === 401 || frame.problem['status'] === 403) void renew()
        return take(frame.push)?.reject(failureOf(url, frame))
      case 'Reset':
        return end({ _tag: 'Reset', backend: frame.backend })
      case 'Granted':
        return renewLater(frame.expiresInMs)
      default:
    }
  }

  /** The server sends a client's own events to the others only. */
  const onAck = ({ push: id, head, offset }: Extract<ServerFrame, { readonly _tag: 'Ack' }>) => {
    const acknowledged = take(id)
    if (acknowledged === undefined || tip === undefined) return observeHead({ head, offset })
    const { push, resolve } = acknowledged
    const { parent, last, messages, body } = push
    if (head === last) deliver({ parent, head, offset, messages, size: body.length })
    else observeHead({ head, offset })
    resolve({ head, backend: tip.backend })
  }

  const take = (id: number): Pending | undefined => {
    const found = pending.get(id)
    pending.delete(id)
    closeIfUnused()
    return found
  }

  const open = async () => {
    const attempted = Symbol('attempt')
    opening = attempted
    const protocols = await attempt('the call of the function for headers', limits.firstByteTimeoutMs, undefined, () =>
      headersAsProtocols(transport),
    ).catch(() => 'no headers' as const)
    if (opening !== attempted) return
    if (protocols === 'no headers') return endQuietly()
    if (protocols === undefined) return end({ _tag: 'NoSocket' })
    try {
      session = openSession(new WebSocket(`${url.replace(/^http/, 'ws')}?live=websocket`, protocols), limits, {
        onHello,
        onFrame,
        onEnd: (stalled) => end({ _tag: stalled ? 'Stalled' : 'Ended', heard: hello !== undefined }),
      })
    } catch {
      // The runtime refuses the address, or the page's policy does.
      end({ _tag: 'NoSocket' })
    }
  }

  const renewLater = (expiresInMs: number | undefined) => {
    clearTimeout(renewal)
    if (expiresInMs === undefined) return
    const inMs = Math.max(expiresInMs - RENEW_BEFORE_MS, expiresInMs / 2)
    renewal = setTimeout(() => void renew(), Math.min(inMs, 2 ** 31 - 1))
  }

  const renew = async () => {
    const current = session
    const token = tokenIn(await transport.headers().catch(() => new Headers()))
    if (token !== undefined && current !== undefined && session === current) current.send({ token })
  }

  const listen = (): Listener => {
    const listener = makeListener(() => {
      listeners.delete(listener)
      closeIfUnused()
    })
    listeners.add(listener)
    clearTimeout(linger)
    if (isClosed) listener.end({ _tag: 'NoSocket' })
    else if (hello !== undefined) listener.hello({ ...hello, ...tip })
    else openIfClosed()
    return listener
  }

  const openIfClosed = () => {
    if (!isOpen()) void open()
  }

  const canPush = (length: number): boolean => {
    if (isClosed || Date.now() < noPushUntil) return false
    if (hello !== undefined) return length <= MAX_PUSH_LENGTH && pending.size < hello.limits.pushes
    if (!hasFailed) {
      openIfClosed()
      closeIfUnused()
    }
    return false
  }

  const turnWaitMs = (parent: number): number =>
    hello === undefined || tip?.head !== parent ? 0 : waitMs(turn, hello.id, Date.now() - turn.since)

  const untilTurn = (parent: number, signal: AbortSignal): Promise<void> | undefined => {
    if (turnWaitMs(parent) === 0 || hello === undefined) return undefined
    if (!stands) session?.send({ want: true })
    stands = true
    return waitForTurn(parent, signal)
  }

  const waitForTurn = async (parent: number, signal: AbortSignal): Promise<void> => {
    for (let ms = turnWaitMs(parent); ms > 0 && !signal.aborted; ms = turnWaitMs(parent)) {
      const news = new AbortController()
      // With a reason, it makes no error with a stack.
      const endWait = () => news.abort(null)
      turnWaits.add(endWait)
      signal.addEventListener('abort', endWait, { once: true })
      await sleep(ms, news.signal)
      turnWaits.delete(endWait)
      signal.removeEventListener('abort', endWait)
    }
  }

  const push = (what: SocketPush, signal: AbortSignal): Promise<SocketAck> =>
    new Promise((resolve, reject) => {
      // The server may still have it. Then the acknowledgement brings its events to the pulls.
      const onAbort = () => reject(new TransportError('the push was given up'))
      if (signal.aborted) return onAbort()
      const open = session
      if (open === undefined) return reject(new TransportError('the socket is closed'))
      const id = ++lastPush
      const onTimeout = () => {
        noPushUntil = Date.now() + NO_PUSH_MS
        const why = `the push was not answered within ${limits.pushTimeoutMs} ms`
        take(id)?.reject(new TransportError(why, { timedOut: true }))
      }
      const timer = setTimeout(onTimeout, limits.pushTimeoutMs)
      const settle = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      pending.set(id, {
        push: what,
        resolve: (ack) => {
          settle()
          resolve(ack)
        },
        reject: (failure) => {
          settle()
          reject(failure)
        },
      })
      open.send({ push: { id, backend: what.backendId } }, what.body)
    })

  return {
    listen,
    tip: () => tip,
    untilTurn,
    canPush,
    close: () => {
      isClosed = true
      endQuietly()
    },
    push,
  }
}

interface OpenListener extends Listener {
  readonly queue: FrameQueue
  readonly wake: () => void
  readonly hello: (hello: Hello) => void
  readonly end: (end: SocketEnd) => void
}

const makeListener = (onClose: () => void): OpenListener => {
  const queue = makeFrameQueue()
  let greeting: Hello | undefined
  let ended: SocketEnd | undefined
  let wake = () => {}

  const next: Listener['next'] = async (seqNum, signal) => {
    for (;;) {
      if (signal.aborted) return { _tag: 'Ended', heard: true }
      if (greeting !== undefined) {
        const hello = greeting
        greeting = undefined
        return { _tag: 'Hello', hello }
      }
      const heard = queue.take(seqNum) ?? ended
      if (heard !== undefined) return heard
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }

  return {
    queue,
    wake: () => wake(),
    hello: (hello) => {
      greeting = hello
      queue.observeHead(hello.head)
      wake()
    },
    end: (end) => {
      ended ??= end
      wake()
    },
    next,
    reaches: (seqNum) => queue.head() >= seqNum,
    close: onClose,
  }
}

/** A refusal counts only if it has one of the server's own problems, as by HTTP (authenticity.ts). */
const failureOf = (
  url: string,
  { problem, retryAfterMs }: Extract<ServerFrame, { readonly _tag: 'Refuse' }>,
): HttpFailure => {
  const status = typeof problem['status'] === 'number' ? problem['status'] : 500
  return problemKind(problem['type']) === undefined
    ? new ForeignAnswer(url, status, 'it refuses a push without a problem of Headwater')
    : new ResponseError(url, status, problem, retryAfterMs)
}

/** The subprotocols that carry the app's headers; undefined if no WebSocket can: a browser sets no headers on one. */
const headersAsProtocols = async (transport: Transport): Promise<Array<string> | undefined> => {
  const headers = await transport.headers()
  const token = tokenIn(headers)
  const names = [...headers.keys()]
  if (names.length === 0) return [SUBPROTOCOL]
  return names.length === 1 && token !== undefined ? [SUBPROTOCOL, `${TOKEN_PREFIX}${token}`] : undefined
}

/** A token that may stand in a subprotocol (RFC 9110 5.6.2). A JWT always may. */
const tokenIn = (headers: Headers): string | undefined =>
  /^bearer +([!#$%&'*+.^_`|~0-9a-z-]+)$/i.exec(headers.get('authorization') ?? '')?.[1]
