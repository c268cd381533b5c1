import type { RoundResult } from './rounds.ts'

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The spread of a figure over the rounds that have it. */
export function spread(results: readonly RoundResult[] | undefined, key: string): Spread | undefined {
  const values = (results ?? []).flatMap((result) => ('figures' in result ? (result.figures[key] ?? []) : []))
  if (values.length === 0) return undefined
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const median = ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2
  return { median, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0 }
}
