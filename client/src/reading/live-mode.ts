/**
 * Chooses between SSE and long-poll, because some networks do not let SSE through. Pure: it judges by how the last live
 * connections ended.
 *
 * Two signs show that SSE does not get through. Connections are cut at once, several times in a row. Or a connection opens
 * and stays silent, though both reference servers send a first control event at once, at the tail too: something on the way
 * holds the response back until it ends. A long-poll gets through there, because each of its responses ends.
 */
export type LiveMode = 'sse' | 'long-poll'

export interface LiveModeState {
  readonly preferred: LiveMode
  /** SSE connections in a row that were cut at once. */
  readonly short: number
  /** SSE connections in a row that stayed silent. */
  readonly silent: number
  /** Long-poll replaces SSE until then. */
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
  /** An event arrived. */
  readonly heard: boolean
  /** The connection ended, brought nothing in time, or was left for a newer one. */
  readonly end: 'cut' | 'silence' | 'left'
}

/** A shorter SSE connection was cut at once. */
const SHORT_MS = 1_000
const SHORT_IN_A_ROW = 3
/** A lost packet can look the same once, but hardly twice. */
const SILENT_IN_A_ROW = 2
/** Networks change, and SSE costs the fewest requests. Therefore it gets another chance, which one failure ends. */
const LONG_POLL_MS = 10 * 60_000

export const afterSse = (state: LiveModeState, { lastedMs, heard, end }: SseLife, now: number): LiveModeState => {
  // The connection had no time to bring anything, which says nothing about the network.
  if (end === 'left' && !heard) return state
  const silent = end === 'silence' ? state.silent + 1 : heard ? 0 : state.silent
  const short = end === 'cut' ? (lastedMs < SHORT_MS ? state.short + 1 : 0) : end === 'left' ? 0 : state.short
  if (silent < SILENT_IN_A_ROW && short < SHORT_IN_A_ROW) return { ...state, silent, short }
  return { ...state, silent: SILENT_IN_A_ROW - 1, short: SHORT_IN_A_ROW - 1, longPollUntil: now + LONG_POLL_MS }
}
