/**
 * `isConnected` says whether events flow. The live pulls decide while any is open, and other requests decide otherwise. A
 * push without an answer counts against it until the server answers pushes again.
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
  /** The live pull takes part in the decision until `close`. */
  readonly live: () => LiveConnection
  readonly hasLive: () => boolean
  /** The finding of a request that is no live read. It counts only while no live pull is open. */
  readonly observed: (connected: boolean) => void
  /** Whether the server answers pushes. */
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
