// Runs the rounds. The systems take turns, and each round starts its system and a client process.
import { fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { node, root } from '../scripts/lib/tools.mjs'
import { fillStores } from './fill.ts'
import type { Job, Outcome } from './round-client.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { type SystemId, storageOf } from './systems/model.ts'
import { start } from './systems/start.ts'

export type RoundResult = Outcome | { readonly error: string }
export type Results = Partial<Record<SystemId, RoundResult[]>>

export interface Plan {
  readonly systems: readonly SystemId[]
  readonly rounds: number
  readonly quick: boolean
}

const ROUND_TIMEOUT_MS = 300_000

export async function runScenario(scenario: Scenario, { systems, rounds, quick }: Plan): Promise<Results> {
  const measured = systems.filter((system) => scenario.exclusion?.(system) === undefined)
  const results: Results = Object.fromEntries(measured.map((system) => [system, []]))
  const filled = new Map<string, Folder>()
  try {
    for (let round = 0; round < rounds; round++) {
      // Each round begins with another system, because the speed of the machine changes
      for (const system of [
        ...measured.slice(round % measured.length),
        ...measured.slice(0, round % measured.length),
      ]) {
        if (round >= (scenario.rounds?.(system, rounds) ?? rounds)) continue
        const began = Date.now()
        const result = await runRound(scenario, system, quick, filled).catch((error) => ({
          error: String(error?.message ?? error),
        }))
        results[system]?.push(result)
        console.log(
          `[bench] ${scenario.id} round ${round + 1}, ${system}, ${((Date.now() - began) / 1_000).toFixed(1)} s: ${brief(result)}`,
        )
      }
    }
  } finally {
    for (const folder of filled.values()) await folder.remove()
  }
  return results
}

async function runRound(
  scenario: Scenario,
  system: SystemId,
  quick: boolean,
  filled: Map<string, Folder>,
): Promise<Outcome> {
  const folder =
    scenario.fill === undefined ? await makeFolder() : await filledFolder(scenario.fill(quick), system, filled)
  try {
    const running = await start(system, folder.path, scenario.vars === undefined ? {} : { vars: scenario.vars })
    try {
      return await runClient({ scenario: scenario.id, endpoint: running.endpoint, processes: running.processes, quick })
    } finally {
      await running.stop()
    }
  } finally {
    if (scenario.fill === undefined) await folder.remove()
  }
}

/** Stores that a scenario only reads are filled once for all rounds, and for all systems with the same storage. */
async function filledFolder(
  stores: Readonly<Record<string, number>>,
  system: SystemId,
  filled: Map<string, Folder>,
): Promise<Folder> {
  const storage = storageOf(system)
  let folder = filled.get(storage)
  if (folder === undefined) {
    folder = await makeFolder()
    try {
      await fillStores(storage, folder.path, stores)
    } catch (error) {
      await folder.remove()
      throw error
    }
    filled.set(storage, folder)
  }
  return folder
}

export function runClient(job: Job): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = fork(join(root, 'benches/round-client.ts'), [JSON.stringify(job)], {
      execPath: node,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let errors = ''
    let outcome: Outcome | undefined
    child.stderr?.on('data', (chunk) => (errors = (errors + chunk).slice(-2_000)))
    child.on('message', (message) => (outcome = message as Outcome))
    const timer = setTimeout(() => child.kill('SIGKILL'), ROUND_TIMEOUT_MS)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      if (outcome !== undefined) resolve(outcome)
      else
        reject(
          new Error(
            `the client process ${signal ? `was ended by ${signal}` : `exited with ${code}`}: ${lastError(errors)}`,
          ),
        )
    })
  })
}

const lastError = (text: string): string =>
  text
    .split('\n')
    .find((line) => /^\w*Error\b/.test(line.trim()))
    ?.trim() ?? text.trim().slice(-300)

interface Folder {
  readonly path: string
  remove(): Promise<void>
}

async function makeFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'headwater-bench-'))
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) }
}

const brief = (result: RoundResult): string =>
  'error' in result
    ? `FAILED: ${result.error}`
    : [
        ...Object.entries(result.figures).map(([key, value]) => `${key} ${Number(value.toPrecision(4))}`),
        ...result.problems.map((problem) => `(${problem})`),
      ].join(', ')
