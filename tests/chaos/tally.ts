// What happened, in numbers: of a round, and added up over rounds.
import { FAULT_KINDS, type FaultKind } from './faults.ts'
import type { LongestStall } from './stalls.ts'

/** Trouble that comes not from the proxy but from the ends: a client that leaves, a process that dies. */
export const END_KINDS = ['client left', 'Worker killed', 'upstream killed', 'upstream emptied'] as const
export type TroubleKind = FaultKind | (typeof END_KINDS)[number]
export const TROUBLE_KINDS: readonly TroubleKind[] = [...FAULT_KINDS, ...END_KINDS]

export class Tally {
  /** How often each kind bit. */
  readonly troubles = Object.fromEntries(TROUBLE_KINDS.map((kind) => [kind, 0])) as Record<TroubleKind, number>
  /** What pushes were answered, by status and problem. */
  readonly answers: Record<string, number> = {}
  /** Events by what became of the attempt to push them. */
  acknowledged = 0
  refused = 0
  maybe = 0
  /** Of the maybes, those that are in the log. */
  landed = 0
  /** Appends that the proxy let go only after the Worker's time-out, by what the upstream made of them. */
  readonly late = { applied: 0, fenced: 0, 'cut by a crash': 0 }
  /** Live reads that were opened anew. */
  reconnects = 0
  /** The longest of any writer, and of all the writers of any store. */
  readonly stalls: Record<'writer' | 'store', LongestStall> = {
    writer: { ms: 0, calmMs: 0 },
    store: { ms: 0, calmMs: 0 },
  }

  get faults(): number {
    return TROUBLE_KINDS.reduce((sum, kind) => sum + this.troubles[kind], 0)
  }

  answered(what: string): void {
    this.answers[what] = (this.answers[what] ?? 0) + 1
  }

  add(other: Tally): void {
    for (const kind of TROUBLE_KINDS) this.troubles[kind] += other.troubles[kind]
    for (const [what, times] of Object.entries(other.answers)) this.answers[what] = (this.answers[what] ?? 0) + times
    for (const key of ['applied', 'fenced', 'cut by a crash'] as const) this.late[key] += other.late[key]
    for (const key of ['acknowledged', 'refused', 'maybe', 'landed', 'reconnects'] as const) this[key] += other[key]
    for (const whose of ['writer', 'store'] as const) {
      const [mine, others] = [this.stalls[whose], other.stalls[whose]]
      mine.ms = Math.max(mine.ms, others.ms)
      mine.calmMs = Math.max(mine.calmMs, others.calmMs)
    }
  }
}
