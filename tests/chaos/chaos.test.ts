// The real parts under faults and crashes, with fixed seeds. `npm run chaos` does the same for as long as its options say.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { objectsInBucket, type Parts, type PartsOptions, startParts, stopParts } from './parts.ts'
import { complaints, figures, table } from './report.ts'
import { type Round, runRound } from './round.ts'
import { TROUBLE_KINDS } from './tally.ts'

describe('no event is lost or doubled, and no client is stuck', () => {
  let parts: Parts
  const rounds: Round[] = []
  beforeAll(async () => {
    parts = await startParts()
  })
  afterAll(async () => {
    if (parts) await stopParts(parts)
    console.log(table(SEEDS[0].seed, rounds))
  })

  const SEEDS = [
    { seed: 1, seconds: 30, kills: false },
    { seed: 2, seconds: 45, kills: true },
    { seed: 3, seconds: 45, kills: true },
  ] as const

  test.each(SEEDS)('with seed $seed, $seconds s, kills: $kills', { timeout: 180_000 }, async (options) => {
    console.log(`seed ${options.seed}`)
    const round = await runRound(parts, options)
    rounds.push(round)
    expect(complaints(round)).toBe('')
    expect(round.tally.acknowledged).toBeGreaterThan(100)
  })

  test('every kind of fault was injected', () => {
    const { faultsByKind } = figures(SEEDS[0].seed, rounds)
    expect(TROUBLE_KINDS.filter((kind) => faultsByKind[kind] === 0)).toEqual([])
  })
})

describe.each([
  { where: 'with the built-in log', seed: 4, on: { builtIn: true } },
  { where: 'while older history moves to a bucket', seed: 7, on: { builtIn: true, bucket: true } },
  { where: 'while logs move', seed: 5, moves: true },
  { where: 'while two Workers serve every store', seed: 6, on: { replicas: true } },
] satisfies { where: string; seed: number; on?: PartsOptions; moves?: boolean }[])(
  'no event is lost or doubled, and no client is stuck, $where',
  ({ seed, on, moves = false }) => {
    let parts: Parts
    beforeAll(async () => {
      parts = await startParts(on)
    })
    afterAll(() => parts && stopParts(parts))

    test(`with seed ${seed}, 30 s, kills: true`, { timeout: 180_000 }, async () => {
      console.log(`seed ${seed}`)
      const round = await runRound(parts, { seed, seconds: 30, kills: true, moves })
      expect(complaints(round)).toBe('')
      expect(round.tally.acknowledged).toBeGreaterThan(100)
      if (moves) expect(round.tally.moves).toBeGreaterThan(5)
      if (on?.bucket) expect(await objectsInBucket(parts)).toBeGreaterThan(0)
    })
  },
)
