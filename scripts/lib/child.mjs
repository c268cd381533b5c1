// Child processes that never outlive this process, and never leave processes of their own behind.
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'

// The child leads its own process group: wrangler starts workerd, and a signal to wrangler alone can leave workerd
// running. The group is on a leash: a background shell reads a pipe that only this process holds open. The pipe closes
// however this process ends, even by SIGKILL. Then the shell kills the group.
const LEASH = '(trap "" INT TERM HUP; cat <&3; kill -s KILL -- -$$) >/dev/null 2>&1 & exec 3<&-; exec "$@"'
const GRACE_MS = 5_000
const TAIL_LINES = 40

/**
 * @typedef {object} Command
 * @property {string} name the name in messages and logs
 * @property {string} command
 * @property {string[]} args
 * @property {NodeJS.ProcessEnv} env
 * @property {string} cwd
 *
 * @typedef {object} Output
 * @property {string} [logFile] receives everything that the child prints
 * @property {(line: string) => void} [onLine]
 *
 * @typedef {object} Child
 * @property {string} name
 * @property {number | undefined} group the id of its process group
 * @property {() => boolean} isAlive
 * @property {Promise<{ ok: boolean, how: string }>} exited `how` describes the end; never rejects
 * @property {() => string} tail the last lines of output
 * @property {() => Promise<void>} stop sends SIGTERM, and SIGKILL if the group is still there 5 s later
 * @property {() => Promise<void>} kill sends SIGKILL to the whole group
 */

/**
 * @param {Command} command
 * @param {Output} [output]
 * @returns {Child}
 */
export function startChild({ name, command, args, env, cwd }, { logFile, onLine } = {}) {
  const child = spawn('sh', ['-c', LEASH, 'sh', command, ...args], {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const log = logFile === undefined ? undefined : createWriteStream(logFile)
  /** @type {string[]} */
  const lines = []
  for (const stream of [child.stdout, child.stderr]) {
    if (stream)
      eachLine(stream, (line) => {
        lines.push(line)
        if (lines.length > TAIL_LINES) lines.shift()
        log?.write(`${line}\n`)
        onLine?.(line)
      })
  }

  let alive = true
  /** @type {Child['exited']} */
  const exited = new Promise((resolve) => {
    child.once('error', (error) => resolve({ ok: false, how: `could not be started: ${error.message}` }))
    child.once('exit', () => signalGroup('SIGKILL')) // ends what the child has started
    // 'close' follows when all output has been read
    child.once('close', (code, signal) => {
      resolve({ ok: code === 0, how: signal ? `was ended by ${signal}` : `exited with code ${code}` })
    })
  })
  void exited.then(() => {
    alive = false
    log?.end()
  })

  /** @param {NodeJS.Signals} signal */
  function signalGroup(signal) {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, signal)
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error
    }
  }

  async function kill() {
    if (alive) signalGroup('SIGKILL')
    await exited
  }

  async function stop() {
    if (alive) signalGroup('SIGTERM')
    const timer = setTimeout(() => signalGroup('SIGKILL'), GRACE_MS)
    await exited
    clearTimeout(timer)
  }

  return { name, group: child.pid, isAlive: () => alive, exited, tail: () => lines.join('\n'), stop, kill }
}

/**
 * Runs a child to its end. If the child fails, the error has its last lines.
 * @param {Command} command
 * @param {Output} [output]
 */
export async function runChild(command, output) {
  const child = startChild(command, output)
  const { ok, how } = await child.exited
  if (!ok) throw new Error(`${command.name} ${how}. Its last lines:\n${child.tail()}`)
}

/**
 * @param {import('node:stream').Readable} stream
 * @param {(line: string) => void} take
 */
function eachLine(stream, take) {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (/** @type {string} */ chunk) => {
    const parts = (rest + chunk).split('\n')
    rest = parts.pop() ?? ''
    for (const line of parts) take(line)
  })
  stream.on('end', () => {
    if (rest) take(rest)
  })
}
