// The paths of the project's tools, and their environment. Imports only Node's own modules, because `npm start` and
// `npm test` load this file on a machine where nothing is installed yet.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))
export const toolchain = join(root, '.toolchain')

/** The Node that the setup installed. The system's Node may be too old for wrangler. */
export const node = join(root, 'node_modules/.bin/node')
export const wrangler = join(root, 'node_modules/wrangler/bin/wrangler.js')
export const vite = join(root, 'node_modules/vite/bin/vite.js')
export const durableStreamsServer = join(toolchain, 'bin/durable-streams-server')

/** @type {NodeJS.ProcessEnv | undefined} */
let sourced

/**
 * This process's environment plus `.toolchain/env`, which the setup wrote.
 * @returns {NodeJS.ProcessEnv}
 */
export function toolEnv() {
  if (!sourced) {
    const out = execFileSync('bash', ['-c', '. "$0" && env -0', join(toolchain, 'env')], { encoding: 'utf8' })
    const pairs = out.split('\0').filter(Boolean)
    sourced = Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
    )
  }
  return sourced
}
