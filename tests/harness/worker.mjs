// node worker.mjs <options as JSON>: the Worker on Miniflare, as a process, so that a test can kill it.
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'

const options = JSON.parse(process.argv[2] ?? '{}')
const miniflare = new Miniflare(convertV4MiniflareOptions({ ...options, log: new Log(LogLevel.WARN) }))
process.once('SIGTERM', async () => {
  await miniflare.dispose()
  process.exit(0)
})
await miniflare.ready
