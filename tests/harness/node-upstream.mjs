// node node-upstream.mjs <port> <data folder>: the reference server as a process, so that a test can kill it.
import { DurableStreamTestServer } from '@durable-streams/server'

const [port, dataDir] = process.argv.slice(2)
if (dataDir === undefined) throw new Error('usage: node-upstream.mjs <port> <data folder>')
const server = new DurableStreamTestServer({ host: '127.0.0.1', port: Number(port), dataDir })
await server.start()

process.once('SIGTERM', async () => {
  await server.stop()
  process.exit(0)
})
