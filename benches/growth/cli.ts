// npm run bench -- growth: measures how Headwater's costs grow with a store, and how large the Worker is.
import { parseArgs } from 'node:util'
import { onEndSignal } from '../../scripts/lib/steps.mjs'
import { publish, save } from '../publish.ts'
import { figure, machine } from '../report.ts'
import { stopAll } from '../systems/start.ts'
import { cold } from './cold.ts'
import { costs, weight } from './costs.ts'
import { builtIn, history } from './history.ts'
import type { Figure } from './measure.ts'
import { memory } from './memory.ts'
import { moving } from './moving.ts'

const PARTS: Record<string, (quick: boolean) => Promise<Figure[]>> = {
  weight,
  costs,
  cold,
  memory,
  history,
  'built-in': builtIn,
  moving,
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(PARTS).join(',') },
    quick: { type: 'boolean', default: false },
    publish: { type: 'boolean', default: false },
  },
})
const unknown = values.only.split(',').find((name) => !(name in PARTS))
if (unknown !== undefined) throw new Error(`unknown part '${unknown}'; the parts are: ${Object.keys(PARTS).join(' ')}`)
onEndSignal(async () => {
  await stopAll()
  process.exit(130)
})

const report = { at: new Date().toISOString(), quick: values.quick, machine: machine(), figures: [] as Figure[] }
const lines: string[] = []
for (const name of values.only.split(',')) {
  try {
    const figures = (await PARTS[name]?.(values.quick)) ?? []
    report.figures.push(...figures)
    for (const measured of figures) print(line(measured))
  } catch (error) {
    process.exitCode = 1
    print(`  ${name} FAILED: ${error instanceof Error ? error.message : error}`)
  }
}
const { cpu, cores, loadBefore } = report.machine
const conditions = `${report.at}: ${cores} × ${cpu}; load before ${loadBefore.toFixed(2)} per core`
const results = { name: 'growth', report, text: `${lines.join('\n')}\n\n${conditions}` }
save(results)
if (values.publish) publish(results)
// End here, because a part that failed may leave a client open
process.exit()

function print(text: string): void {
  lines.push(text)
  console.log(text)
}

function line({ what, value, unit, target }: Figure): string {
  const verdict = target === undefined ? '' : `   ${value <= target ? 'met' : 'MISSED'} (≤ ${figure(target)})`
  return `  ${what.padEnd(56)} ${figure(value).padStart(10)} ${unit}${verdict}`
}
