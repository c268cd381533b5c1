// A TCP gate between one client and a Worker. Closed, it is a network without a way out: it cuts what is open, and new connections wait. Once
// it opens, all that wait go on at once. It also counts the refusals that the server sends.
import { connect, createServer, type Socket } from 'node:net'

export interface Gate {
  readonly url: string
  /** The connections that wait. */
  waiting(): number
  /** How many pushes the server has refused with `ServerAheadError`. */
  refusals(): number
  close(): void
  open(): void
  stop(): void
}

const REFUSAL = 'ServerAheadError'
/** Renames the header with which a client offers compressed frames, because refusals in them could not be counted. */
const OFFER = /sec-websocket-extensions/i
const NO_OFFER = 'x-no-websocket-extension'

export async function startGate(workerUrl: string): Promise<Gate> {
  const { hostname, port } = new URL(workerUrl)
  const sockets = new Set<Socket>()
  const waiting = new Set<Socket>()
  let isOpen = true
  let refusals = 0

  const join = (client: Socket) => {
    const server = connect(Number(port), hostname)
    server.setNoDelay(true)
    track(server)
    client.once('data', (first) => {
      server.write(first.toString('latin1').replace(OFFER, NO_OFFER), 'latin1')
      client.pipe(server)
    })
    let seen = ''
    server.on('data', (chunk) => {
      const text = seen + chunk.toString('latin1')
      refusals += text.split(REFUSAL).length - 1
      // The word may be cut in two
      const last = text.lastIndexOf(REFUSAL)
      seen = text.slice(Math.max(last < 0 ? 0 : last + REFUSAL.length, text.length - REFUSAL.length + 1))
    })
    server.pipe(client)
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const)
      one.on('close', () => other.destroy())
  }
  const track = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }
  const listener = createServer((client) => {
    client.setNoDelay(true)
    track(client)
    if (isOpen) return join(client)
    waiting.add(client)
    client.on('close', () => waiting.delete(client))
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('the gate has no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    waiting: () => waiting.size,
    refusals: () => refusals,
    close() {
      isOpen = false
      for (const socket of sockets) socket.destroy()
    },
    open() {
      isOpen = true
      for (const client of waiting) join(client)
      waiting.clear()
    },
    stop() {
      listener.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
