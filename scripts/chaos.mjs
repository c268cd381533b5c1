// npm run chaos -- --minutes N --seed S: sets up and builds, then runs the real parts under faults and crashes
// (tests/chaos) and checks that nothing was lost. Until the setup is done, this runs on the system's Node, and
// uses only Node's own modules.
import { parseArgs } from 'node:util'
import { build, onEndSignal, run, setUp, stopSteps } from './lib/steps.mjs'
import { node } from './lib/tools.mjs'

const HELP = `npm run chaos -- [options]

  --minutes N   how long to run (default 3), in rounds of at most 45 s, each with new stores
  --seed S      the seed of all randomness, and of the first round (default: random)
  --no-kills    cause network faults only, and kill no process
  --built-in    keep the log in the Worker's own storage, without an upstream
  --replicas    let two Workers serve every store, each with Durable Objects of its own
  --moves       move logs between the upstream and the Worker's own storage meanwhile
  --help

The last line is one JSON object. The exit code is 1 if anything was lost, duplicated, stuck or otherwise wrong.`

onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
const options = readOptions()
const ok = (await setUp()) && (await build()) && (await run('chaos', [node, 'tests/chaos/cli.ts', ...options]))
process.exitCode = ok ? 0 : 1

function readOptions() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '3' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
      'no-kills': { type: 'boolean', default: false },
      'built-in': { type: 'boolean', default: false },
      replicas: { type: 'boolean', default: false },
      moves: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(HELP)
    process.exit(0)
  }
  const minutes = Number(values.minutes)
  const seed = Number(values.seed)
  if (!(minutes > 0)) throw new Error(`--minutes must be a number above 0, not ${values.minutes}`)
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32)
    throw new Error(`--seed must be a whole number below 2^32, not ${values.seed}`)
  if (values['built-in'] && values.moves) throw new Error('--moves requires an upstream, which --built-in leaves out')
  if (values.replicas && (values['built-in'] || values.moves))
    throw new Error(
      '--replicas goes with neither --built-in nor --moves: then a log has one place, in one Durable Object',
    )
  const flags = /** @type {const} */ (['no-kills', 'built-in', 'replicas', 'moves'])
    .filter((name) => values[name])
    .map((name) => `--${name}`)
  return ['--minutes', String(minutes), '--seed', String(seed), ...flags]
}
