/** One connection of a socket: it opens, speaks, and ends once. */
import { type Hello, PING, PONG, parseFrame, type ServerFrame } from './frame.ts'

export interface SessionLimits {
  /** The first frame must come within this time. */
  readonly firstByteTimeoutMs: number
  /** A connection without a byte for so long is dead, whatever the runtime thinks of it. */
  readonly stallTimeoutMs: number
}

export interface SessionEvents {
  readonly onHello: (hello: Hello) => void
  readonly onFrame: (frame: ServerFrame) => void
  /** Called once. `stalled`: nothing came for too long. */
  readonly onEnd: (stalled: boolean) => void
}

export interface Session {
  /** Sends a frame. It may be lost with the connection. */
  readonly send: (head: object, batch?: string) => void
  /** Ends the session without a word to `onEnd`. */
  readonly close: () => void
}

/** A client tells how much it has received, once for this many characters. The server closes sockets that fall behind. */
const RECEIVED_STEP = 256 * 1024

export const openSession = (socket: WebSocket, limits: SessionLimits, events: SessionEvents): Session => {
  socket.binaryType = 'arraybuffer'
  const decoder = new TextDecoder()
  let isOver = false
  let hasHello = false
  let heardAt = Date.now()
  let isPinged = false
  let received = 0

  const finish = (): boolean => {
    if (isOver) return false
    isOver = true
    clearTimeout(firstByte)
    clearInterval(check)
    for (const type of ['message', 'close', 'error'] as const) socket.removeEventListener(type, listeners[type])
    // An 'error' without a listener would end a Node process that uses the `ws` package.
    socket.addEventListener('error', () => {})
    try {
      socket.close()
    } catch {
      // A connection that is not open yet ends by itself.
    }
    return true
  }

  const end = (stalled: boolean) => {
    if (finish()) events.onEnd(stalled)
  }

  const onMessage = ({ data }: { readonly data: unknown }) => {
    heardAt = Date.now()
    isPinged = false
    if (data === PONG) return
    let frame: ServerFrame
    try {
      const text = typeof data === 'string' ? data : decoder.decode(data as ArrayBuffer)
      acknowledge(typeof data === 'string' ? data.length : (data as ArrayBuffer).byteLength)
      frame = parseFrame(text)
    } catch {
      // Somebody else speaks here.
      return end(false)
    }
    if (isOver) return
    // The closing handshake may take its time.
    if (frame._tag === 'Bye') return end(false)
    if (frame._tag === 'Hello') {
      hasHello = true
      clearTimeout(firstByte)
      events.onHello(frame.hello)
    } else if (hasHello) events.onFrame(frame)
  }

  /** Some runtimes throw if the connection is gone before its end was told. */
  const send = (data: string) => {
    try {
      socket.send(data)
    } catch {
      end(false)
    }
  }

  const acknowledge = (bytes: number) => {
    received += bytes
    if (received < RECEIVED_STEP) return
    send(JSON.stringify({ received }))
    received = 0
  }

  const listeners = {
    message: (event: Event) => onMessage(event as Event & { readonly data: unknown }),
    close: () => end(false),
    error: () => end(false),
  }
  for (const type of ['message', 'close', 'error'] as const) socket.addEventListener(type, listeners[type])

  const firstByte = setTimeout(() => end(true), limits.firstByteTimeoutMs)
  const step = limits.stallTimeoutMs / 3
  // A sleeping device runs no timers. Therefore an old ping counts, and an old frame does not.
  const check = setInterval(() => {
    if (!hasHello) return
    if (isPinged) end(true)
    else if (Date.now() - heardAt >= step) {
      isPinged = true
      send(PING)
    }
  }, step)

  return {
    send: (head, batch) => send(batch === undefined ? JSON.stringify(head) : `${JSON.stringify(head)}\n${batch}`),
    close: () => void finish(),
  }
}
