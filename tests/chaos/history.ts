// What was tried, what was promised, and what each client saw.

/** A LiveStore event whose args say who made it and in which attempt it was pushed. */
export interface ChaosEvent {
  name: string
  /** `event` stays when an event is rebased; `attempt` is new for each batch it is pushed in. */
  args: { event: string; attempt: string; padding: string }
  seqNum: number
  parentSeqNum: number
  clientId: string
  sessionId: string
}

/**
 * What a writer knows of an attempt. `acknowledged`: a 200. `refused`: a definitive refusal, and never anything else.
 * `maybe`: some answer never came, or was a 5xx, and no 200 followed; it may be in the log.
 */
export type Outcome = 'acknowledged' | 'refused' | 'maybe'

export interface Attempt {
  readonly event: string
  readonly batch: string
  outcome: Outcome
}

/** Of one store. */
export class History {
  /** Every event that a writer made. */
  readonly made = new Set<string>()
  /** By the attempt's id. */
  readonly attempts = new Map<string, Attempt>()
  /** Answers that no client which follows the rules should ever get. */
  readonly anomalies: string[] = []
}

/** The chain as one client has it, built from events in the order in which they came to it. */
export class View {
  readonly name: string
  /** The attempt of each event; the event `seqNum` is at `seqNum - 1`, because every chain here begins at 1. */
  readonly attempts: string[] = []
  /** Where what came was no chain. */
  readonly breaks: string[] = []
  #waiting: { head: number; resolve: () => void }[] = []

  constructor(name: string) {
    this.name = name
  }

  get head(): number {
    return this.attempts.length
  }

  /**
   * Drops known events and events that do not link. Returns true if the event is new. The oracle states the chain itself, on
   * purpose (oracle.ts).
   */
  take({ seqNum, parentSeqNum, args: { attempt } }: ChaosEvent): boolean {
    if (seqNum <= this.head) {
      const had = this.attempts[seqNum - 1]
      if (had !== attempt) this.breaks.push(`event ${seqNum} was ${had}, then ${attempt}`)
      return false
    }
    if (parentSeqNum !== this.head || seqNum !== this.head + 1) {
      this.breaks.push(`event ${seqNum} with the parent ${parentSeqNum} follows event ${this.head}`)
      return false
    }
    this.attempts.push(attempt)
    this.#waiting = this.#waiting.filter(({ head, resolve }) => this.head < head || resolve())
    return true
  }

  /** Resolves when it has the event `head`. */
  reaches(head: number): Promise<void> {
    if (this.head >= head) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ head, resolve }))
  }
}
