// npm run bench: measures, prints, and keeps what it measured.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { onEndSignal } from '../scripts/lib/steps.mjs'
import { root } from '../scripts/lib/tools.mjs'
import { chart } from './chart.ts'
import { machine, type Report, tables } from './report.ts'
import { type Results, runScenario } from './rounds.ts'
import { SCENARIOS } from './scenarios/index.ts'
import { SYSTEM_IDS, type SystemId } from './systems/model.ts'
import { missing, stopAll } from './systems/start.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    systems: { type: 'string', default: SYSTEM_IDS.join(',') },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    publish: { type: 'boolean', default: false },
  },
})
const quick = values.quick
const rounds = Number(values.rounds ?? (quick ? 1 : 5))
const scenarios = values.only === '' ? SCENARIOS.filter(({ id }) => !quick || !['c200k', 'e10'].includes(id)) : values.only.split(',').flatMap(chosenBy)
const wanted = values.systems.split(',').map(systemNamed)
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds must be a whole number above 0, not ${values.rounds}`)

onEndSignal(async () => {
  await stopAll()
  process.exit(130)
})
const skipped = Object.fromEntries(wanted.flatMap((system) => missing(system) ?? []).map((why) => ['sync-s2', why]))
const systems = wanted.filter((system) => missing(system) === undefined)
const report: Report = { at: new Date().toISOString(), quick, rounds, machine: machine(), scenarios: {}, skipped }
const began = Date.now()
const measured: Record<string, Results> = {}
for (const scenario of scenarios) {
  measured[scenario.id] = await runScenario(scenario, { systems, rounds, quick })
  keep({ ...report, scenarios: measured })
}
const { cpu, cores, loadBefore } = report.machine
console.log(`\n${tables({ ...report, scenarios: measured })}\n`)
console.log(`${rounds} round${rounds === 1 ? '' : 's'}, ${Math.round((Date.now() - began) / 1_000)} s, ${cores} × ${cpu}, load before ${loadBefore.toFixed(2)} a core`)
process.exitCode = Object.values(measured).some((results) => Object.values(results).some((all) => all.some((one) => 'error' in one))) ? 1 : 0

function keep(report: Report): void {
  const folders = [['benches/results', 'latest'], ...(values.publish ? [['docs', 'performance']] : [])] as const
  for (const [folder = '', name = ''] of folders) {
    mkdirSync(join(root, folder), { recursive: true })
    writeFileSync(join(root, folder, `${name}.json`), `${JSON.stringify(report, null, 1)}\n`)
    writeFileSync(join(root, folder, `${name}.svg`), chart(report))
  }
}

/** A letter stands for all its variants. */
function chosenBy(name: string) {
  const exact = SCENARIOS.filter(({ id }) => id === name && name.length > 1)
  const found = exact.length > 0 ? exact : SCENARIOS.filter(({ id }) => id[0] === name)
  if (found.length === 0) throw new Error(`no scenario '${name}'; there are: ${SCENARIOS.map(({ id }) => id).join(' ')}`)
  return found
}

function systemNamed(name: string): SystemId {
  const found = SYSTEM_IDS.find((id) => id === name)
  if (found === undefined) throw new Error(`no system '${name}'; there are: ${SYSTEM_IDS.join(' ')}`)
  return found
}
