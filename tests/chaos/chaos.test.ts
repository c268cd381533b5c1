// The real parts under faults and crashes, with fixed seeds. `npm run chaos` does the same for as long as its options say.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Parts, startParts, stopParts } from './parts.ts'
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

describe('no event is lost or doubled, and no client is stuck, while logs move', () => {
  let parts: Parts
  beforeAll(async () => {
    parts = await startParts()
  })
  afterAll(() => parts && stopParts(parts))

  test('with seed 5, 30 s, kills: true', { timeout: 180_000 }, async () => {
    console.log('seed 5')
    const round = await runRound(parts, { seed: 5, seconds: 30, kills: true, moves: true })
    console.log(`${round.tally.moves} moves`)
    expect(complaints(round)).toBe('')
    expect(round.tally.acknowledged).toBeGreaterThan(100)
    expect(round.tally.moves).toBeGreaterThan(5)
  })
})

describe('no event is lost or doubled, and no client is stuck, while two Workers serve every store', () => {
  let parts: Parts
  beforeAll(async () => {
    parts = await startParts({ replicas: true })
  })
  afterAll(() => parts && stopParts(parts))

  test('with seed 6, 30 s, kills: true', { timeout: 180_000 }, async () => {
    console.log('seed 6')
    const round = await runRound(parts, { seed: 6, seconds: 30, kills: true })
    expect(complaints(round)).toBe('')
    expect(round.tally.acknowledged).toBeGreaterThan(100)
  })
})

describe('no event is lost or doubled, and no client is stuck, with the built-in log', () => {
  let parts: Parts
  beforeAll(async () => {
    parts = await startParts({ builtIn: true })
  })
  afterAll(() => parts && stopParts(parts))

  test('with seed 4, 30 s, kills: true', { timeout: 180_000 }, async () => {
    console.log('seed 4')
    const round = await runRound(parts, { seed: 4, seconds: 30, kills: true })
    expect(complaints(round)).toBe('')
    expect(round.tally.acknowledged).toBeGreaterThan(100)
  })
})
