/** The driver of a pull: it carries out the commands of pull-core.ts one after the other while LiveStore asks for more. */
import { BackendIdMismatchError, type IsOfflineError, UnknownError } from '@livestore/common'

import type { BackendId } from '../store/backend-id.ts'
import type { Connection } from '../store/connection.ts'
import type { Start } from './cursor.ts'
import { toSyncError, toUnknownError, unknownError } from '../http/errors.ts'
import type { PullItem } from './page.ts'
import type { Problems } from '../store/problem.ts'
import { advance, commandOf, isBehind, isFollowing, isSpreading, requestCatchUp, startPull } from './pull-core.ts'
import type { Command, Moment, Outcome, PullEnd, PullSettings, PullSetup } from './pull-terms.ts'
import { listen, type LiveRead, readPageOf, type ReadLimits } from './read.ts'
import type { Source } from './source.ts'
import { sleep, toFailure } from '../http/transport.ts'

export type PullError = IsOfflineError | BackendIdMismatchError | UnknownError

export interface PullDeps {
  readonly source: Source
  readonly backendId: BackendId
  readonly connection: Connection
  readonly problems: Problems
  readonly settings: PullSettings & ReadLimits
  /** The open live pulls. A push that learns that the server is ahead makes them catch up. */
  readonly livePulls: Set<LivePull>
  /** LiveStore has received the events up to this one. */
  readonly onPulled: (seqNum: number) => void
  /** Failures in a row of pulls that are not live. LiveStore restarts a failed pull at once, whatever the cause, so it survives the pull. */
  readonly failureCount: { current: number }
}

export interface LivePull {
  /** Makes the pull catch up at once, and again until it has brought this seqNum. */
  readonly catchUpTo: (seqNum: number) => void
  /** The server answers. A pull that waits before its next try need not wait. */
  readonly wake: () => void
  /** Somebody works on this device. Its pull need not wait until its reconnection is due. */
  readonly hurry: () => void
}

export interface Puller {
  /** Returns the next item; undefined at the end of the log. Rejects with a `PullError`. */
  readonly next: () => Promise<PullItem | undefined>
  /** Ends every request at once. */
  readonly close: () => void
}

export const openPull = (deps: PullDeps, start: Start, isLive: boolean): Puller => {
  const { source, backendId, connection, problems, settings } = deps
  const { party } = source.transport
  const setup: PullSetup = { live: isLive, party, implicitId: source.directLog?.implicitId, settings }
  const moment = (): Moment => ({ now: Date.now(), random: Math.random(), remembered: backendId.remembered() })

  const closed = new AbortController()
  const live = isLive ? connection.live() : undefined
  let state = startPull(setup, start, isLive ? 0 : deps.failureCount.current, moment())
  let connectionOpen: LiveRead | undefined
  /** A command that the driver began before LiveStore asked for the next item. */
  let ahead: { readonly command: Command; readonly outcome: Promise<Outcome> } | undefined
  let hasFailed = false
  /** Ends the wait that is under way. */
  let wake: AbortController | undefined

  const next = async (): Promise<PullItem | undefined> => {
    for (;;) {
      closed.signal.throwIfAborted()
      const begun = state.ready.length === 0 ? ahead : undefined
      if (begun !== undefined) ahead = undefined
      const command = begun?.command ?? commandOf(setup, state, moment())
      reportStatus(command)
      if (command._tag === 'Done') {
        deps.failureCount.current = 0
        return undefined
      }
      if (command._tag === 'Fail') {
        deps.failureCount.current = state.failures
        throw errorOf(command.end)
      }
      take(command, await (begun?.outcome ?? perform(command)))
      if (command._tag === 'Give') {
        const last = command.item.batch.at(-1)
        if (last !== undefined) deps.onPulled(last.event.seqNum)
        readAhead()
        return command.item
      }
    }
  }

  const endConnection = () => {
    connectionOpen?.close()
    connectionOpen = undefined
  }

  const take = (command: Command, outcome: Outcome) => {
    const before = state
    state = advance(setup, state, outcome, moment())
    // A browser has six connections to a server. Unused ones must not hold them.
    if (!isFollowing(state)) endConnection()
    if (state.phase._tag === 'Ended' && command._tag === 'Confirm') source.directLog?.onBroken()
    if (state.phase._tag === 'Resting') source.directLog?.onLost()
    // The header of an empty stream may be on its way, and nothing may be written before it.
    if (state.tail !== undefined && state.tail !== before.tail && backendId.remembered() !== undefined) source.directLog?.onTail(state.tail)
  }

  /** Reports the connection before LiveStore receives an item, and its loss only when no item is left. */
  const reportStatus = (command: Command) => {
    // The app may tell LiveStore to ignore a reset. Then refused pushes report the problem.
    if (command._tag === 'Fail' && command.end._tag !== 'BackendIdMismatch') hasFailed = true
    if (state.connected === undefined || (command._tag === 'Give' && !state.connected)) return
    if (live === undefined) connection.observed(state.connected)
    else if (state.connected) live.up()
    else live.down()
    problems.reading(state.problem)
  }

  /** Requests the next page while LiveStore works on the last one. The state changes only when LiveStore asks for it. */
  const readAhead = () => {
    if (ahead !== undefined) return
    const command = commandOf(setup, { ...state, ready: [] }, moment())
    if (command._tag === 'Read' && command.withinMs === undefined) ahead = { command, outcome: perform(command) }
  }

  const perform = async (command: Command): Promise<Outcome> => {
    try {
      return await performed(command)
    } catch (cause) {
      return { _tag: 'Failed', failure: toFailure('read', cause) }
    }
  }

  const performed = async (command: Command): Promise<Outcome> => {
    switch (command._tag) {
      case 'Rest':
        return untilWoken(command.ms, () => new Promise(() => {}))
      case 'Read': {
        const read = (signal: AbortSignal) => readPageOf(source, command.query, settings, signal)
        return command.withinMs === undefined ? read(closed.signal) : untilWoken(command.withinMs, read)
      }
      case 'Listen':
        connectionOpen = listen(source, command.query, settings)
        return OK
      case 'Next': {
        const open = connectionOpen
        return open === undefined ? { _tag: 'Ended' } : untilWoken(command.withinMs, () => open.next())
      }
      case 'Identify':
        return { _tag: 'Identified', tail: undefined, backendId: undefined, ...(await source.directLog?.identify(closed.signal)) }
      case 'Confirm':
        return { _tag: 'Identified', tail: undefined, backendId: await source.askBackendId(closed.signal) }
      case 'Create':
        await source.directLog?.create(closed.signal)
        return OK
      case 'Learn':
        await backendId.observe(command.backendId, closed.signal)
        return OK
      default:
        return OK
    }
  }

  /** Returns the outcome of `work`, unless the time is over or somebody wakes the pull before. */
  const untilWoken = async (withinMs: number, work: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> => {
    const over = new AbortController()
    const end = () => over.abort()
    wake = over
    closed.signal.addEventListener('abort', end, { once: true })
    try {
      const elapsed = sleep(Math.min(withinMs, MAX_TIMEOUT_MS), over.signal)
      return await Promise.race([work(over.signal), elapsed.then((): Outcome => ({ _tag: over.signal.aborted ? 'Woken' : 'Elapsed' }))])
    } finally {
      wake = undefined
      closed.signal.removeEventListener('abort', end)
      over.abort()
    }
  }

  const pull: LivePull = {
    catchUpTo: (seqNum) => {
      state = requestCatchUp(state, seqNum)
      if (isBehind(state)) wake?.abort()
    },
    wake: () => {
      if (state.phase._tag === 'Resting') wake?.abort()
    },
    hurry: () => {
      if (isSpreading(state)) wake?.abort()
    },
  }
  if (isLive) deps.livePulls.add(pull)

  const close = () => {
    closed.abort()
    endConnection()
    // A failed pull stays in the decision about `isConnected`: it brings nothing more, whatever a ping finds.
    if (!hasFailed) live?.close()
    deps.livePulls.delete(pull)
  }
  return { next, close }
}

const OK: Outcome = { _tag: 'Ok' }

/** The longest that timers take. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

const errorOf = (end: PullEnd): PullError => {
  switch (end._tag) {
    case 'BackendIdMismatch':
      return new BackendIdMismatchError({ expected: end.expected, received: end.received })
    case 'Broken':
      return unknownError(end.note, end.payload)
    case 'Failure': {
      const { failure, note } = end
      if (note === undefined) return toSyncError(failure)
      const { cause, payload } = toUnknownError(failure)
      return new UnknownError({ cause, note, payload })
    }
  }
}

