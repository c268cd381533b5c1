import { createServer } from 'node:net'

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
export function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

// What Vitest runs at once takes its ports from different ranges: what one has stopped, to start it again on its port,
// must not find another there.
const RANGES = 4
const RANGE = 3_000
const first = 20_000 + (Number(process.env.VITEST_POOL_ID ?? 0) % RANGES) * RANGE

/**
 * A port nobody listens on, below the ranges that systems take the ports of outgoing connections from, so that it
 * is still free when a server restarts on it.
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = first + Math.floor(Math.random() * RANGE)
    if (await isFree(port)) return port
  }
}
