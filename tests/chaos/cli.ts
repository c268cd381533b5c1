// npm run chaos: rounds of faults and crashes for the given time. The last line is one JSON object.
import { parseArgs } from 'node:util'
import { onEndSignal } from '../../scripts/lib/steps.mjs'
import { Random } from '../support/random.ts'
import { objectsInBucket, startParts, stopParts } from './parts.ts'
import { complaints, figures, progress, table } from './report.ts'
import { isGood, type Round, runRound } from './round.ts'

const ROUND_SECONDS = 45

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    'no-kills': { type: 'boolean', default: false },
    'built-in': { type: 'boolean', default: false },
    bucket: { type: 'boolean', default: false },
    replicas: { type: 'boolean', default: false },
    moves: { type: 'boolean', default: false },
  },
})
const minutes = Number(values.minutes)
const seed = Number(values.seed)

const FLAGS = {
  'no-kills': 'no kills',
  'built-in': 'built-in log',
  bucket: 'bucket',
  replicas: 'replicas',
  moves: 'moves',
} as const
const given = Object.entries(FLAGS).filter(([flag]) => values[flag as keyof typeof FLAGS])
console.log(`[chaos] ${[`seed ${seed}`, `${minutes} minutes`, ...given.map(([, name]) => name)].join(', ')}`)
const { bucket, replicas } = values
const parts = await startParts({ builtIn: values['built-in'], bucket, replicas })
onEndSignal(async () => {
  await stopParts(parts)
  process.exit(130)
})
const rounds: Round[] = []
const end = Date.now() + minutes * 60_000
try {
  // The first round has the given seed. Therefore a single failed round can be repeated
  for (let next = seed; rounds.length === 0 || Date.now() < end - 10_000; next = new Random(next).fork('next').seed) {
    const seconds = Math.max(10, Math.min(ROUND_SECONDS, (end - Date.now()) / 1_000 - 5))
    const round = await runRound(parts, { seed: next, seconds, kills: !values['no-kills'], moves: values.moves })
    rounds.push(round)
    console.log(`[chaos] round ${rounds.length}, ${progress(round)}`)
    if (!isGood(round)) console.log(complaints(round))
  }
  if (bucket) console.log(`[chaos] ${await objectsInBucket(parts)} objects in the bucket`)
} finally {
  await stopParts(parts)
}
console.log(`\n${table(seed, rounds)}\n`)
console.log(JSON.stringify({ ok: rounds.every(isGood), minutes, ...figures(seed, rounds) }))
process.exitCode = rounds.every(isGood) ? 0 : 1
