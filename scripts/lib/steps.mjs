// Runs the single commands of `npm start`, `npm test` and others, and shows their output as it comes.
import { startChild } from './child.mjs'
import { root, toolEnv } from './tools.mjs'

/** @type {Set<import('./child.mjs').Child>} */
const running = new Set()

/**
 * @typedef {object} Options
 * @property {NodeJS.ProcessEnv} [env]
 * @property {string} [prefix] printed before each line
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
 * Runs in the environment of this process, because the setup writes the environment of all other steps.
 * @param {Options & { browser?: boolean }} [options] `browser`: also installs a browser for the tests
 */
export const setUp = ({ browser = false, ...options } = {}) =>
  run('setup', ['bash', 'scripts/setup.sh', ...(browser ? ['--browser'] : [])], { ...options, env: process.env })
export const build = (options = {}) => run('build', ['bash', 'scripts/build.sh'], options)
export const buildClient = (options = {}) => run('client', ['npm', 'run', '--silent', 'build', '-w', 'client'], options)

export async function stopSteps() {
  await Promise.all([...running].map((child) => child.stop()))
}

/**
 * Calls `stop` at the first signal that asks this process to end. There may be more than one: the terminal sends a
 * Ctrl-C to this process and to npm, and npm passes it on.
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
  // The terminal may close before this process ends (SIGHUP). Later output is lost, but the children must still stop
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}
