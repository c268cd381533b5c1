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

// Parallel Vitest workers take their ports from different ranges. Otherwise one worker could take the port of a server that
// another worker is restarting.
const RANGES = 4
const RANGE = 3_000
const first = 20_000 + (Number(process.env.VITEST_POOL_ID ?? 0) % RANGES) * RANGE

/**
 * Finds a free port. It is below the ranges that systems use for outgoing connections, so it stays free while a
 * server restarts.
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = first + Math.floor(Math.random() * RANGE)
    if (await isFree(port)) return port
  }
}
