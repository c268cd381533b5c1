/** Carries out the commands of pull-core.ts that take time: requests, pauses, the live connection. */
import { sleep, toFailure } from '../http/transport.ts'
import type { BackendId } from '../store/backend-id.ts'
import type { Command, Outcome } from './pull-terms.ts'
import { type LiveRead, listen, type ReadLimits, readPageOf } from './read.ts'
import { listenOnSocket } from './socket-read.ts'
import type { Source } from './source.ts'

export interface CommandRunner {
  /** Never rejects: a failure is an outcome. */
  readonly perform: (command: Command) => Promise<Outcome>
  /** Ends the current wait. */
  readonly wake: () => void
  readonly closeConnection: () => void
  /** Whether the live connection brings everything up to this event. */
  readonly reaches: (seqNum: number) => boolean
}

const OK: Outcome = { _tag: 'Ok' }

/** The longest time that timers take. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

/** `closed` ends every request and every wait. */
export const makeCommandRunner = (
  source: Source,
  backendId: BackendId,
  limits: ReadLimits,
  closed: AbortSignal,
): CommandRunner => {
  let connection: LiveRead | undefined
  const { untilWoken, wake } = makeWaits(closed)

  const perform = async (command: Command): Promise<Outcome> => {
    try {
      return await run(command)
    } catch (cause) {
      return { _tag: 'Failed', failure: toFailure('read', cause) }
    }
  }

  const run = async (command: Command): Promise<Outcome> => {
    switch (command._tag) {
      case 'Rest':
        return untilWoken(command.ms, () => new Promise(() => {}))
      case 'Read': {
        const read = (signal: AbortSignal) => readPageOf(source, command.query, limits, signal)
        return command.withinMs === undefined ? read(closed) : untilWoken(command.withinMs, read)
      }
      case 'Listen':
        connection =
          command.query.live === 'websocket'
            ? listenOnSocket(source.socket, source.url, command.query.backendId)
            : listen(source, command.query, limits)
        return OK
      case 'Next': {
        const open = connection
        if (open === undefined) return { _tag: 'Ended' }
        return untilWoken(command.withinMs, (signal) => open.next(command.seqNum, signal))
      }
      case 'Identify':
        return {
          _tag: 'Identified',
          tail: undefined,
          backendId: undefined,
          ...(await source.directLog?.identify(closed)),
        }
      case 'Confirm':
        return { _tag: 'Identified', tail: undefined, backendId: await source.askBackendId(closed) }
      case 'Create':
        await source.directLog?.create(closed)
        return OK
      case 'Learn':
        await backendId.observe(command.backendId, closed)
        return OK
      default:
        return OK
    }
  }

  return {
    perform,
    wake,
    closeConnection: () => {
      connection?.close()
      connection = undefined
    },
    reaches: (seqNum) => connection?.reaches(seqNum) ?? false,
  }
}

/** Waits, one at a time, that `wake` ends early. */
const makeWaits = (closed: AbortSignal) => {
  let wait: AbortController | undefined

  /** Returns the outcome of `work`, unless the time is over or somebody wakes the pull before. */
  const untilWoken = async (withinMs: number, work: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> => {
    const over = new AbortController()
    const end = () => over.abort()
    wait = over
    closed.addEventListener('abort', end, { once: true })
    try {
      const elapsed = sleep(Math.min(withinMs, MAX_TIMEOUT_MS), over.signal)
      return await Promise.race([
        work(over.signal),
        elapsed.then((): Outcome => ({ _tag: over.signal.aborted ? 'Woken' : 'Elapsed' })),
      ])
    } finally {
      wait = undefined
      closed.removeEventListener('abort', end)
      over.abort()
    }
  }

  return { untilWoken, wake: () => wait?.abort() }
}
