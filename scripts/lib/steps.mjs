// One-off commands of `npm start` and `npm test`, their output shown as it comes.
import { startChild } from './child.mjs'
import { root, toolEnv } from './tools.mjs'

/** @type {Set<import('./child.mjs').Child>} */
const running = new Set()

/**
 * @typedef {object} Options
 * @property {NodeJS.ProcessEnv} [env]
 * @property {string} [prefix] of each line that is shown
 * @property {(line: string) => void} [onLine]
 */

/**
 * @param {string} name
 * @param {string[]} commandLine
 * @param {Options} [options]
 * @returns {Promise<boolean>} whether it succeeded
 */
export async function run(name, [command = '', ...args], { env = toolEnv(), prefix = '', onLine } = {}) {
  const show = (/** @type {string} */ line) => {
    console.log(prefix + line)
    onLine?.(line)
  }
  const child = startChild({ name, command, args, env, cwd: root }, { onLine: show })
  running.add(child)
  const { ok, how } = await child.exited
  running.delete(child)
  if (!ok) console.error(`${name} ${how}`)
  return ok
}

/**
 * The environment of set-up itself: it is what writes the one that all other steps have.
 * @param {Options & { browser?: boolean }} [options] `browser`: for the browser tests, too
 */
export const setUp = ({ browser = false, ...options } = {}) =>
  run('set-up', ['bash', 'scripts/setup.sh', ...(browser ? ['--browser'] : [])], { ...options, env: process.env })
export const build = (options = {}) => run('build', ['bash', 'scripts/build.sh'], options)
export const buildClient = (options = {}) => run('client', ['npm', 'run', '--silent', 'build', '-w', 'client'], options)

export async function stopSteps() {
  await Promise.all([...running].map((child) => child.stop()))
}

/**
 * Calls `stop` once, at the first signal that asks this process to end. npm passes on the Ctrl-C that the terminal
 * has sent us already, so there may be more than one.
 * @param {(signal: NodeJS.Signals) => void} stop
 */
export function onEndSignal(stop) {
  let asked = false
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => {
      if (!asked) stop(signal)
      asked = true
    })
  }
  // The terminal may be gone before we are (SIGHUP): what we say then is lost, but the stopping goes on
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}
