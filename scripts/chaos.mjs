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
  --bucket      move the older parts of a built-in log to an R2 bucket, and make longer events (only with --built-in)
  --replicas    let two Workers serve every store, each with Durable Objects of its own
  --moves       keep moving logs between the upstream and the Worker's own storage during the run
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
      bucket: { type: 'boolean', default: false },
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
  if (values['built-in'] && values.moves)
    throw new Error('--moves requires an upstream, but --built-in starts none: give only one of them')
  if (values.bucket && !values['built-in'])
    throw new Error('--bucket requires --built-in: only a built-in log uses a bucket')
  if (values.replicas && (values['built-in'] || values.moves))
    throw new Error(
      "--replicas excludes --built-in and --moves: the two Workers share no storage, so a built-in log can't be on both",
    )
  const flags = /** @type {const} */ (['no-kills', 'built-in', 'bucket', 'replicas', 'moves'])
    .filter((name) => values[name])
    .map((name) => `--${name}`)
  return ['--minutes', String(minutes), '--seed', String(seed), ...flags]
}
