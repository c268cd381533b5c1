// The attempts, the acknowledgements, and each client's view.

/** A LiveStore event whose args name its writer's event and the attempt to push it. */
export interface ChaosEvent {
  name: string
  /** A rebase keeps `event`. Each batch with the event has a new `attempt`. */
  args: { event: string; attempt: string; padding: string }
  seqNum: number
  parentSeqNum: number
  clientId: string
  sessionId: string
}

/**
 * A writer's knowledge of an attempt. `acknowledged`: a 200. `refused`: a definitive refusal, and never another answer. `maybe`:
 * an answer never came, or was a 5xx, and no 200 followed. The attempt may be in the log.
 */
export type Outcome = 'acknowledged' | 'refused' | 'maybe'

export interface Attempt {
  readonly event: string
  readonly batch: string
  outcome: Outcome
}

/** The history of one store. */
export class History {
  /** Every event that a writer made. */
  readonly made = new Set<string>()
  /** By the attempt's id. */
  readonly attempts = new Map<string, Attempt>()
  /** Answers that a client which follows the rules should never receive. */
  readonly anomalies: string[] = []
}

/** One client's chain, built from events in the order of their arrival. */
export class View {
  readonly name: string
  /** The attempt of each event; the event `seqNum` is at `seqNum - 1`, because every chain here begins at 1. */
  readonly attempts: string[] = []
  /** The places at which the arriving events were no chain. */
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

  /** Resolves when the view has the event `head`. */
  reaches(head: number): Promise<void> {
    if (this.head >= head) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ head, resolve }))
  }
}
