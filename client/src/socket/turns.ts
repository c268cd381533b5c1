/**
 * Turns: which of several contending writers pushes next (docs/internals/life-of-a-push.md, "Turns"). The Sequencer names the
 * line with each news of the log. A writer whose turn it is not waits, instead of pushing in vain. Pure.
 */
export interface Turn {
  /** The writers that push next, in their order. */
  readonly line: ReadonlyArray<number>
  /** How long a writer waits for each writer before it. */
  readonly patienceMs: number
}

/** Nobody contends. */
export const NO_TURN: Turn = { line: [], patienceMs: 0 }

/** The Sequencer names at most so many writers (docs/http-api.md, "Turns"). */
const MAX_NAMED = 16

/** Whether a writer stands in line, as far as it can tell. `stood`: it did before this turn. A long line does not name all. */
export const standsInLine = ({ line }: Turn, own: number, stood: boolean): boolean =>
  line.includes(own) || (stood && line.length >= MAX_NAMED)

/** How long the writer still waits, `elapsedMs` after the news. One that is not in the line stands behind it. */
export const waitMs = (turn: Turn, own: number, elapsedMs: number): number => {
  const place = turn.line.indexOf(own)
  const before = place < 0 ? turn.line.length : place
  return Math.max(0, before * turn.patienceMs - elapsedMs)
}
