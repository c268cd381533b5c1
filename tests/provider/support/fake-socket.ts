// A WebSocket whose server is the test, for what a real server can't be made to do.

export interface Sent {
  readonly head: Readonly<Record<string, unknown>>
  /** The text behind the line; empty without one. */
  readonly batch: string
}

export class FakeSocket extends EventTarget {
  readonly url: string
  readonly protocols: readonly string[]
  readonly sent: Sent[] = []
  /** Text that is no frame. */
  readonly texts: string[] = []
  binaryType = 'blob'
  isClosed = false
  /** Each frame that is sent fails, as in runtimes that throw once the connection is gone. */
  isBroken = false

  constructor(url: string, protocols: readonly string[]) {
    super()
    this.url = url
    this.protocols = protocols
  }

  send(text: string): void {
    if (this.isBroken) throw new TypeError("Can't call WebSocket send() after close().")
    if (text === 'ping') this.texts.push(text)
    else {
      const end = text.indexOf('\n')
      this.sent.push({
        head: JSON.parse(end < 0 ? text : text.slice(0, end)),
        batch: end < 0 ? '' : text.slice(end + 1),
      })
    }
  }

  close(): void {
    this.isClosed = true
  }

  /** The server sends a frame. */
  frame(head: object, batch?: readonly unknown[]): void {
    const text = JSON.stringify(head) + (batch === undefined ? '' : `\n${JSON.stringify(batch)}`)
    this.receive(new TextEncoder().encode(text).buffer)
  }

  hello(head: number, fields: object = {}): void {
    const limits = { events: 100, bytes: 1024 * 1024, pushes: 16 }
    this.frame({ hello: { id: 1, backend: 'backend-1', head, offset: offsetOf(head), limits, ...fields } })
  }

  /** The number of the push that was sent last. */
  get lastPush(): number {
    const push = this.sent.findLast(({ head }) => 'push' in head)
    if (push === undefined) throw new Error('nothing was pushed')
    return (push.head['push'] as { id: number }).id
  }

  ack(push: number, head: number): void {
    this.frame({ ack: { push, head, offset: offsetOf(head) } })
  }

  receive(data: unknown): void {
    this.dispatchEvent(Object.assign(new Event('message'), { data }))
  }

  /** The connection is gone. */
  drop(): void {
    this.dispatchEvent(new Event('close'))
  }
}

export const offsetOf = (head: number): string => String(head).padStart(8, '0')

/** The class, and the sockets that it has made. */
export const makeFakeSockets = () => {
  const opened: FakeSocket[] = []
  const WebSocket = class extends FakeSocket {
    constructor(url: string, protocols: readonly string[]) {
      super(url, protocols)
      opened.push(this)
    }
  } as unknown as typeof globalThis.WebSocket
  return { WebSocket, opened }
}
