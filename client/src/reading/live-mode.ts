/**
 * Chooses how a live pull receives events, because some networks let neither WebSockets nor SSE through. Pure: it judges by
 * how the last live connections ended.
 *
 * Two signs show that a kind of connection does not get through. Connections are cut at once, or before they bring anything,
 * several times in a row. Or a connection opens and stays silent, though the server sends something at once, at the tail
 * too: something on the way holds it back until it ends. A long-poll gets through everywhere, because each of its responses
 * ends.
 */
export type LiveMode = 'websocket' | 'sse' | 'long-poll'

/** A live connection that stays open. */
export type StreamMode = Exclude<LiveMode, 'long-poll'>

export interface LiveModeState {
  readonly preferred: LiveMode
  readonly records: Readonly<Record<StreamMode, ModeRecord>>
}

interface ModeRecord {
  /** Connections in a row that were cut at once. */
  readonly short: number
  /** Connections in a row that stayed silent. */
  readonly silent: number
  /** The mode below is used until then. */
  readonly avoidedUntil: number | undefined
}

/** From the best to the one that always works. */
const MODES: ReadonlyArray<LiveMode> = ['websocket', 'sse', 'long-poll']

const NEW_RECORD: ModeRecord = { short: 0, silent: 0, avoidedUntil: undefined }

export const startLiveMode = (preferred: LiveMode): LiveModeState => ({
  preferred,
  records: { websocket: NEW_RECORD, sse: NEW_RECORD },
})

/** The best mode that is not avoided. `unable` names the modes that this runtime or server lacks. */
export const liveModeAt = (
  { preferred, records }: LiveModeState,
  now: number,
  unable: ReadonlyArray<StreamMode> = [],
): LiveMode => {
  const isUsable = (mode: LiveMode) =>
    mode === 'long-poll' || (!unable.includes(mode) && now >= (records[mode].avoidedUntil ?? 0))
  return MODES.slice(MODES.indexOf(preferred)).find(isUsable) ?? 'long-poll'
}

export interface ConnectionLife {
  readonly mode: StreamMode
  readonly lastedMs: number
  /** An event arrived. */
  readonly heard: boolean
  /** The connection ended, brought nothing in time, or was left for a newer one. */
  readonly end: 'cut' | 'silence' | 'left'
}

/** A shorter connection was cut at once. */
const SHORT_MS = 1_000
const SHORT_IN_A_ROW = 3
/** A lost packet can look the same once, but hardly twice. Without a socket, SSE serves as well: one silence is enough. */
const SILENT_IN_A_ROW = { websocket: 1, sse: 2 }
/** Networks change, and the better mode costs fewer requests. Therefore it gets another chance, which one failure ends. */
const AVOIDED_MS = 10 * 60_000

export const afterConnection = (state: LiveModeState, life: ConnectionLife, now: number): LiveModeState => {
  const record = recordAfter(state.records[life.mode], life, now)
  return { ...state, records: { ...state.records, [life.mode]: record } }
}

const recordAfter = (record: ModeRecord, { mode, lastedMs, heard, end }: ConnectionLife, now: number): ModeRecord => {
  // The connection had no time to bring anything, which says nothing about the network.
  if (end === 'left' && !heard) return record
  const silent = end === 'silence' ? record.silent + 1 : heard ? 0 : record.silent
  // A proxy may take its time before it refuses a connection.
  const isShort = lastedMs < SHORT_MS || !heard
  const short = end === 'cut' ? (isShort ? record.short + 1 : 0) : end === 'left' ? 0 : record.short
  if (silent < SILENT_IN_A_ROW[mode] && short < SHORT_IN_A_ROW) return { ...record, silent, short }
  return { silent: SILENT_IN_A_ROW[mode] - 1, short: SHORT_IN_A_ROW - 1, avoidedUntil: now + AVOIDED_MS }
}
