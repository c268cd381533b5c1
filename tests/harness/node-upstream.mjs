// node node-upstream.mjs <options as JSON>: the reference server as a process, so that a test can kill it.
import { DurableStreamTestServer } from '@durable-streams/server'

const server = new DurableStreamTestServer({ host: '127.0.0.1', ...JSON.parse(process.argv[2] ?? '{}') })
await server.start()

process.once('SIGTERM', async () => {
  await server.stop()
  process.exit(0)
})
