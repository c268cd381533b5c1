// Randomness from one printed seed. The generator is mulberry32: well known, with 32 bits of state.
import fc from 'fast-check'

/** `SEED=… npm run test:provider` repeats a run. */
export const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Checks a property, and prints the seed. */
export const check = <T>(property: fc.IProperty<T>, numRuns = 300): void => {
  console.log(`SEED=${seed}`)
  fc.assert(property as fc.IProperty<unknown>, { seed, numRuns })
}

/** Random numbers from 0 to 1 that a seed repeats. */
export const randomFrom = (seed: number): (() => number) => {
  const random = new Random(seed)
  return () => random.next()
}

export class Random {
  readonly seed: number
  #state: number

  constructor(seed: number) {
    this.seed = seed >>> 0
    this.#state = this.seed
  }

  /** From 0 to 1, without 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(from: readonly T[]): T {
    const chosen = from[this.between(0, from.length - 1)]
    if (chosen === undefined) throw new Error('nothing to pick from')
    return chosen
  }

  /** A generator of its own: the draws from one change nothing for another. */
  fork(name: string): Random {
    let hash = 0x811c9dc5 // FNV-1a
    for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193)
    return new Random(new Random(this.seed ^ hash).next() * 2 ** 32)
  }
}
