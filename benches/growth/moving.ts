// Measures how a store of a million events moves into its Durable Object and back, while a client pushes, and its export.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { node, root } from '../../scripts/lib/tools.mjs'
import { chain } from '../events.ts'
import { residentMiB } from '../processes.ts'
import { writeToUpstream } from './history.ts'
import { type Figure, followed, withHeadwater } from './measure.ts'
import { watchMemory } from './watch-memory.ts'

const STORE = 'moving'

export async function moving(quick: boolean): Promise<Figure[]> {
  const events = quick ? 20_000 : 1_000_000
  return withHeadwater(
    async (running) => {
      const { endpoint } = running
      await writeToUpstream(endpoint, STORE, events)
      const client = await followed(endpoint, STORE)
      let head = events
      /** Pushes until the signal, and returns the longest time until a push was accepted. */
      const pushUntil = async (signal: AbortSignal) => {
        let longest = 0
        for (; !signal.aborted; await sleep(20)) {
          const begin = performance.now()
          const batch = chain(head++, 1)
          // The Sequencer refuses pushes during the last part of a move
          while ((await client.push(batch))._tag === 'failed') await sleep(20)
          longest = Math.max(longest, performance.now() - begin)
        }
        return longest
      }
      const figures: Figure[] = []
      const url = `${endpoint.workerUrl}/v1/stream/default/${STORE}`
      for (const [what, ...command] of [
        ['move into the Durable Object', 'move', url, '--to', 'built-in'],
        ['move to the upstream', 'move', url, '--to', 'upstream'],
        ['export', 'export', url],
      ]) {
        const memory = await watchMemory(running)
        const end = new AbortController()
        const longest = pushUntil(end.signal)
        const { seconds, peakMiB } = await run(command)
        end.abort()
        const name = `${what}, ${events.toLocaleString('en')} events`
        figures.push(
          { what: name, value: seconds, unit: 's' },
          { what: `${what}, longest push meanwhile`, value: await longest, unit: 'ms' },
          { what: `${what}, the command’s memory`, value: peakMiB, unit: 'MiB', target: 200 },
          { what: `${what}, the isolate’s memory`, value: (await memory.end()).peak.isolate, unit: 'MiB', target: 128 },
        )
      }
      await client.close()
      return figures
    },
    { inspector: true },
  )
}

/** Runs a script with its arguments, and watches its memory. */
async function run([name, ...args]: readonly string[]): Promise<{ seconds: number; peakMiB: number }> {
  const begin = performance.now()
  const child = spawn(node, [join(root, `scripts/${name}.mjs`), ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (data) => {
    said += data
  })
  const ended = once(child, 'close')
  let peakMiB = 0
  while (child.exitCode === null && child.signalCode === null) {
    // A process that has just ended has none
    peakMiB = Math.max(peakMiB, (await residentMiB(child.pid).catch(() => 0)) || 0)
    await sleep(20)
  }
  await ended
  if (child.exitCode !== 0) throw new Error(`npm run ${name} failed: ${said}`)
  return { seconds: (performance.now() - begin) / 1_000, peakMiB }
}
