// npm run bench: measures the systems, and prints and saves the figures.
import { parseArgs } from 'node:util'
import { onEndSignal } from '../scripts/lib/steps.mjs'
import { chart } from './chart.ts'
import { publish, save } from './publish.ts'
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
const scenarios =
  values.only === ''
    ? SCENARIOS.filter(({ id }) => !quick || !['c200k', 'e10'].includes(id))
    : values.only.split(',').flatMap(scenariosNamed)
const requested = values.systems.split(',').map(systemNamed)
if (!Number.isInteger(rounds) || rounds < 1)
  throw new Error(`--rounds must be a whole number above 0, not ${values.rounds}`)

onEndSignal(async () => {
  await stopAll()
  process.exit(130)
})
const skipped = Object.fromEntries(
  requested.flatMap((system) => missing(system) ?? []).map((reason) => ['sync-s2', reason]),
)
const systems = requested.filter((system) => missing(system) === undefined)
const report: Report = { at: new Date().toISOString(), quick, rounds, machine: machine(), scenarios: {}, skipped }
const began = Date.now()
const measured: Record<string, Results> = {}
const results = () => {
  const soFar = { ...report, scenarios: measured }
  return { name: 'latest', report: soFar, chart: chart(soFar), text: `${tables(soFar)}\n\n${conditions()}` }
}
for (const scenario of scenarios) {
  measured[scenario.id] = await runScenario(scenario, { systems, rounds, quick })
  save(results())
}
if (values.publish) publish(results())
console.log(`\n${results().text}`)
process.exitCode = Object.values(measured).some((bySystem) =>
  Object.values(bySystem).some((rounds) => rounds.some((round) => 'error' in round)),
)
  ? 1
  : 0

function conditions(): string {
  const { cpu, cores, memoryGiB, system, node, loadBefore } = report.machine
  const minutes = Math.round((Date.now() - began) / 60_000)
  return `${report.at}: ${rounds} round${rounds === 1 ? '' : 's'} in ${minutes} min; ${cores} × ${cpu}, ${memoryGiB} GiB, ${system}, Node ${node}; load before ${loadBefore.toFixed(2)} per core`
}

/** A letter selects all its variants. */
function scenariosNamed(name: string) {
  const exact = SCENARIOS.filter(({ id }) => id === name && name.length > 1)
  const found = exact.length > 0 ? exact : SCENARIOS.filter(({ id }) => id[0] === name)
  if (found.length === 0)
    throw new Error(`unknown scenario '${name}'; the scenarios are: ${SCENARIOS.map(({ id }) => id).join(' ')}`)
  return found
}

function systemNamed(name: string): SystemId {
  const found = SYSTEM_IDS.find((id) => id === name)
  if (found === undefined) throw new Error(`unknown system '${name}'; the systems are: ${SYSTEM_IDS.join(' ')}`)
  return found
}
