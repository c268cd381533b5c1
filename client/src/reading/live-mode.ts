/**
 * SSE or long-poll, for a network that may not let SSE through. Pure: what a live connection was like in, the next one's
 * kind out.
 *
 * Two things show that SSE does not get through. It is cut at once, several times in a row. Or it opens and stays
 * silent, though the protocol's servers send a first control event at once (both reference servers do, at the tail
 * too): something on the way holds the response back until it ends. Long-poll has no such trouble, since each of its
 * responses does end.
 */
export type LiveMode = 'sse' | 'long-poll'

export interface LiveModeState {
  readonly preferred: LiveMode
  /** SSE connections in a row that were cut at once, and that stayed silent. */
  readonly short: number
  readonly silent: number
  /** Until when long-poll is used in place of SSE. */
  readonly longPollUntil: number | undefined
}

export const startLiveMode = (preferred: LiveMode): LiveModeState => ({
  preferred,
  short: 0,
  silent: 0,
  longPollUntil: undefined,
})

export const liveModeAt = (state: LiveModeState, now: number): LiveMode =>
  state.longPollUntil !== undefined && now < state.longPollUntil ? 'long-poll' : state.preferred

export interface SseLife {
  readonly lastedMs: number
  /** A byte of the body arrived. */
  readonly heard: boolean
  /** Why it is over: its own end, no byte in time, or left for a newer one. */
  readonly end: 'cut' | 'silence' | 'left'
}

/** An SSE shorter than this was cut at once. */
const SHORT_MS = 1_000
const SHORT_IN_A_ROW = 3
/** A lost packet can look the same once, hardly twice. */
const SILENT_IN_A_ROW = 2
/** Networks change, and SSE costs the fewest requests: it gets another chance, and has to fail only once to lose it again. */
const LONG_POLL_MS = 10 * 60_000

export const afterSse = (state: LiveModeState, { lastedMs, heard, end }: SseLife, now: number): LiveModeState => {
  // Left before it had time to speak: that says nothing.
  if (end === 'left' && !heard) return state
  const silent = end === 'silence' ? state.silent + 1 : heard ? 0 : state.silent
  const short = end === 'cut' ? (lastedMs < SHORT_MS ? state.short + 1 : 0) : end === 'left' ? 0 : state.short
  if (silent < SILENT_IN_A_ROW && short < SHORT_IN_A_ROW) return { ...state, silent, short }
  return { ...state, silent: SILENT_IN_A_ROW - 1, short: SHORT_IN_A_ROW - 1, longPollUntil: now + LONG_POLL_MS }
}
