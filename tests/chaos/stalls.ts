// The longest time that a writer with pending events waits for its next one to land, which shows whether it starves. The same
// time for all writers of a store together shows how long the store stood still.

export interface LongestStall {
  ms: number
  /** The part after the last fault. */
  calmMs: number
}

export class Stalls {
  readonly #longest: LongestStall
  #since: number | undefined
  #calmSince: number | undefined

  constructor(longest: LongestStall) {
    this.#longest = longest
  }

  waiting(pending: boolean): void {
    if (pending) this.#since ??= Date.now()
  }

  progressed(pending: boolean): void {
    const now = Date.now()
    if (this.#since !== undefined) {
      this.#longest.ms = Math.max(this.#longest.ms, now - this.#since)
      const calmSince = Math.max(this.#since, this.#calmSince ?? now)
      this.#longest.calmMs = Math.max(this.#longest.calmMs, now - calmSince)
    }
    this.#since = pending ? now : undefined
  }

  calm(): void {
    this.#calmSince ??= Date.now()
  }
}
