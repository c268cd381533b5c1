/**
 * `isConnected`: whether events flow. The live pulls decide while any is open, other requests otherwise; and a
 * push that came to nothing counts against it until the server answers pushes again.
 *
 * LiveStore holds pulled items back while this is false (LeaderSyncProcessor.ts, `backgroundBackendPulling`) and starts
 * no push. Therefore the provider itself must find out when to set it to true again.
 */
export interface LiveConnection {
  readonly up: () => void
  readonly down: () => void
  readonly close: () => void
}

export interface Connection {
  readonly isUp: () => boolean
  /** Takes part in the decision until it is closed. */
  readonly live: () => LiveConnection
  readonly hasLive: () => boolean
  /** What a request that is no live read found; counts only while no live pull is open. */
  readonly observed: (connected: boolean) => void
  /** Whether pushes get an answer of the server. */
  readonly writing: (answered: boolean) => void
}

export const makeConnection = (onChange: (connected: boolean) => void): Connection => {
  const live = new Map<symbol, boolean>()
  let reading = false
  let writing = true
  let reported = false

  const isUp = () => reading && writing
  const tell = () => {
    if (reported === isUp()) return
    reported = isUp()
    onChange(reported)
  }
  const read = (connected: boolean) => {
    reading = connected
    tell()
  }

  return {
    isUp,
    live: () => {
      const id = Symbol('live pull')
      live.set(id, false)
      const says = (connected: boolean) => {
        live.set(id, connected)
        read([...live.values()].some(Boolean))
      }
      return { up: () => says(true), down: () => says(false), close: () => live.delete(id) }
    },
    hasLive: () => live.size > 0,
    observed: (connected) => {
      if (live.size === 0) read(connected)
    },
    writing: (answered) => {
      writing = answered
      tell()
    },
  }
}
