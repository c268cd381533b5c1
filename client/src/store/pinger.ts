/** Asks the server whether it answers, and reports the outcome. */
import { isHttpFailure } from '../http/errors.ts'
import { sleep } from '../http/transport.ts'
import type { Connection } from './connection.ts'
import { type Problems, problemOf } from './problem.ts'

export interface PingerDeps {
  readonly ping: (timeoutMs: number, signal?: AbortSignal) => Promise<void>
  readonly settings: { readonly pingTimeoutMs: number; readonly pingIntervalMs: number }
  readonly connection: Connection
  readonly problems: Problems
}

export interface Pinger {
  /** Rejects as `ping` does. */
  readonly pingOnce: (signal?: AbortSignal) => Promise<void>
  /** Keeps `isConnected` up to date while the provider makes no other request. Ends once `closed` is aborted. */
  readonly pingWhileIdle: (closed: AbortSignal) => Promise<void>
}

export const makePinger = ({ ping, settings, connection, problems }: PingerDeps): Pinger => {
  const pingOnce = async (signal?: AbortSignal): Promise<void> => {
    try {
      await ping(settings.pingTimeoutMs, signal)
      connection.observed(true)
      if (!connection.hasLive()) problems.reading(undefined)
    } catch (cause) {
      connection.observed(false)
      if (!connection.hasLive() && isHttpFailure(cause)) problems.reading(problemOf(cause, settings.pingIntervalMs))
      throw cause
    }
  }

  const pingWhileIdle = async (closed: AbortSignal): Promise<void> => {
    for (;;) {
      await sleep(settings.pingIntervalMs, closed)
      if (closed.aborted) return
      if (!connection.hasLive()) await pingOnce(closed).catch(() => {})
    }
  }

  return { pingOnce, pingWhileIdle }
}
