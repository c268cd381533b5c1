// A socket of the Worker, frame by frame, as docs/http-api.md describes it. Knows nothing of the provider.
import { request } from 'node:http'

export interface Frame {
  /** The line of JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: each test knows the frame that it expects
  readonly head: Readonly<Record<string, any>>
  /** The text behind the line; empty without one. */
  readonly batch: string
}

export interface TestSocket {
  /** The next frame. Rejects once the socket is closed and every frame was taken. */
  next(): Promise<Frame>
  /** Takes frames until one has this kind. */
  until(kind: string): Promise<Frame>
  /** The frames that have arrived and were not taken. */
  readonly waiting: ReadonlyArray<Frame>
  send(head: object, batch?: string): void
  /** Stands in line for a turn, and waits until the Sequencer knows. */
  want(): Promise<void>
  sendText(text: string): void
  /** The code and the reason of the end. */
  readonly closed: Promise<{ code: number; reason: string }>
  close(): void
  readonly protocol: string
}

/** Opens a socket, and resolves once it is open. Rejects if the upgrade is refused. */
export async function openSocket(url: string, protocols: string[] = ['headwater.v1']): Promise<TestSocket> {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}?live=websocket`, protocols)
  socket.binaryType = 'arraybuffer'
  const waiting: Frame[] = []
  let wake = () => {}
  let end: { code: number; reason: string } | undefined
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.addEventListener('close', ({ code, reason }) => {
      end = { code, reason }
      resolve(end)
      wake()
    })
  })
  socket.addEventListener('message', ({ data }) => {
    waiting.push(frameOf(typeof data === 'string' ? data : new TextDecoder().decode(data as ArrayBuffer)))
    wake()
  })
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new Error('the upgrade was refused')))
  })
  const next = async (): Promise<Frame> => {
    for (;;) {
      const frame = waiting.shift()
      if (frame !== undefined) return frame
      if (end !== undefined) throw new Error(`the socket is closed: ${end.code} ${end.reason}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  const until = async (kind: string): Promise<Frame> => {
    for (;;) {
      const frame = await next()
      if (kind in frame.head) return frame
    }
  }
  const send = (head: object, batch?: string) =>
    socket.send(JSON.stringify(head) + (batch === undefined ? '' : `\n${batch}`))
  return {
    next,
    until,
    waiting,
    async want() {
      send({ want: true })
      // The Sequencer takes frames in their order. It refuses this one.
      send({ push: { id: 0 } }, '{}')
      await until('refuse')
    },
    send,
    sendText: (text) => socket.send(text),
    closed,
    close: () => socket.close(),
    protocol: socket.protocol,
  }
}

const frameOf = (text: string): Frame => {
  if (text === 'pong') return { head: { pong: true }, batch: '' }
  const end = text.indexOf('\n')
  return { head: JSON.parse(end < 0 ? text : text.slice(0, end)), batch: end < 0 ? '' : text.slice(end + 1) }
}

/** Asks for the upgrade and reads the refusal, which a WebSocket never shows. Resolves with 101 if it is granted. */
export const tryUpgrade = (
  url: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Readonly<Record<string, unknown>>; body: string }> =>
  new Promise((resolve, reject) => {
    const asked = request(`${url}?live=websocket`, {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        ...headers,
      },
    })
    asked.once('upgrade', (response, socket) => {
      socket.destroy()
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: '' })
    })
    asked.once('response', async (response) => {
      let body = ''
      for await (const chunk of response) body += chunk
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
    })
    asked.once('error', reject).end()
  })
