// The numbers of a round, and their sums over rounds.
import { FAULT_KINDS, type FaultKind } from './faults.ts'
import type { LongestStall } from './stalls.ts'

/** Faults that no proxy makes: a client leaves, or a process dies. */
export const END_KINDS = ['client left', 'Worker killed', 'upstream killed', 'upstream emptied'] as const
export type TroubleKind = FaultKind | (typeof END_KINDS)[number]
export const TROUBLE_KINDS: readonly TroubleKind[] = [...FAULT_KINDS, ...END_KINDS]

export class Tally {
  /** The number of faults of each kind. */
  readonly troubles = Object.fromEntries(TROUBLE_KINDS.map((kind) => [kind, 0])) as Record<TroubleKind, number>
  /** The answers to pushes, by status and problem. */
  readonly answers: Record<string, number> = {}
  /** Attempts by their outcome. */
  acknowledged = 0
  refused = 0
  maybe = 0
  /** The maybes that are in the log. */
  landed = 0
  /** Appends that the proxy passed on after the Worker's timeout, by their outcome. */
  readonly late = { applied: 0, fenced: 0, 'cut by a crash': 0 }
  /** Reconnects of live reads. */
  reconnects = 0
  /** The sockets of devices that the Worker opened. */
  sockets = 0
  /** Moves of a log to another place. */
  moves = 0
  /** The longest stall of any writer, and of all writers of any store together. */
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
    for (const key of ['acknowledged', 'refused', 'maybe', 'landed', 'reconnects', 'sockets', 'moves'] as const)
      this[key] += other[key]
    for (const whose of ['writer', 'store'] as const) {
      const [mine, others] = [this.stalls[whose], other.stalls[whose]]
      mine.ms = Math.max(mine.ms, others.ms)
      mine.calmMs = Math.max(mine.calmMs, others.calmMs)
    }
  }
}
