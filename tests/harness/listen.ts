import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export interface Listening {
  readonly url: string
  /** Cuts every connection. */
  readonly cut: () => void
  readonly stop: () => Promise<void>
}

/** Starts a server of the test's own on 127.0.0.1, by default on a free port. */
export const listen = async (server: Server, port = 0): Promise<Listening> => {
  // A client may send a request while the server closes an idle connection, and a test would fail for that.
  server.keepAliveTimeout = 0
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  // The server itself forgets a connection that was upgraded
  const connections = new Set<Socket>()
  server.on('connection', (connection: Socket) => {
    connections.add(connection)
    connection.once('close', () => connections.delete(connection))
  })
  const cut = () => connections.forEach((_) => _.destroy())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      cut()
      await closed
    },
  }
}
