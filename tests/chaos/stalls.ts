// How long those who have something to push wait for the next of their events to get in: one writer, to see whether it
// starves, or all the writers of a store, to see how much of that is the store standing still.

export interface LongestStall {
  ms: number
  /** Of the time after the last fault only. */
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
