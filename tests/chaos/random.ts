// Randomness from one printed seed: mulberry32, a generator of 32 bits of state that is well known and good enough here.
//
// What is drawn is reproducible: which faults, in which order for a store's requests; when to crash what; what each
// writer does. How these meet is not: several processes run on a real clock, and the network and the scheduler of the
// machine decide which request comes first. The same seed makes the same kind of trouble, not the same history.
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

  /** A generator of its own, so that how often one is asked changes nothing for another. */
  fork(name: string): Random {
    let hash = 0x811c9dc5 // FNV-1a
    for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193)
    return new Random(new Random(this.seed ^ hash).next() * 2 ** 32)
  }
}
