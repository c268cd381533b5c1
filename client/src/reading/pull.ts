/** The driver of a pull: it carries out the commands of pull-core.ts one after the other while LiveStore asks for more. */
import { BackendIdMismatchError, type IsOfflineError, UnknownError } from '@livestore/common'

import { toSyncError, toUnknownError, unknownError } from '../http/errors.ts'
import type { BackendId } from '../store/backend-id.ts'
import type { Connection } from '../store/connection.ts'
import type { Problems } from '../store/problem.ts'
import type { Start } from './cursor.ts'
import type { PullItem } from './page.ts'
import { makeCommandRunner } from './pull-commands.ts'
import {
  advance,
  commandOf,
  isBehind,
  isFollowing,
  isSpreading,
  type PullState,
  requestCatchUp,
  startPull,
} from './pull-core.ts'
import type { Command, Moment, Outcome, PullEnd, PullSettings, PullSetup } from './pull-terms.ts'
import type { ReadLimits } from './read.ts'
import type { Source } from './source.ts'

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
  const { source, backendId, settings } = deps
  const { party } = source.transport
  const setup: PullSetup = { live: isLive, party, implicitId: source.directLog?.implicitId, settings }
  const moment = (): Moment => ({ now: Date.now(), random: Math.random(), remembered: backendId.remembered() })

  const closed = new AbortController()
  const status = makeStatusReport(deps, isLive)
  let state = startPull(setup, start, isLive ? 0 : deps.failureCount.current, moment())
  const { perform, wake, closeConnection, reaches } = makeCommandRunner(source, backendId, settings, closed.signal)
  /** A command that the driver began before LiveStore asked for the next item. */
  let ahead: { readonly command: Command; readonly outcome: Promise<Outcome> } | undefined

  const next = async (): Promise<PullItem | undefined> => {
    for (;;) {
      closed.signal.throwIfAborted()
      const begun = state.ready.length === 0 ? ahead : undefined
      if (begun !== undefined) ahead = undefined
      const command = begun?.command ?? commandOf(setup, state, moment())
      status.report(command, state)
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

  const take = (command: Command, outcome: Outcome) => {
    const before = state
    state = advance(setup, state, outcome, moment())
    // A browser has six connections to a server. Unused ones must not hold them.
    if (!isFollowing(state)) closeConnection()
    if (state.phase._tag === 'Ended' && command._tag === 'Confirm') source.directLog?.onBroken()
    if (state.phase._tag === 'Resting') source.directLog?.onLost()
    // The header of an empty stream may be on its way, and nothing may be written before it.
    if (state.tail !== undefined && state.tail !== before.tail && backendId.remembered() !== undefined)
      source.directLog?.onTail(state.tail)
  }

  /** Requests the next page while LiveStore works on the last one. The state changes only when LiveStore asks for it. */
  const readAhead = () => {
    if (ahead !== undefined) return
    const command = commandOf(setup, { ...state, ready: [] }, moment())
    if (command._tag === 'Read' && command.withinMs === undefined) ahead = { command, outcome: perform(command) }
  }

  const pull: LivePull = {
    catchUpTo: (seqNum) => {
      state = requestCatchUp(state, seqNum)
      if (isBehind(state) && !reaches(seqNum)) wake()
    },
    wake: () => {
      if (state.phase._tag === 'Resting') wake()
    },
    hurry: () => {
      if (isSpreading(state)) wake()
    },
  }
  if (isLive) deps.livePulls.add(pull)

  const close = () => {
    closed.abort()
    closeConnection()
    status.close()
    deps.livePulls.delete(pull)
  }
  return { next, close }
}

/** Reports the connection of a pull and its problem. */
const makeStatusReport = ({ connection, problems }: PullDeps, isLive: boolean) => {
  const live = isLive ? connection.live() : undefined
  let hasFailed = false

  /** Reports the connection before LiveStore receives an item, and its loss only when no item is left. */
  const report = (command: Command, { connected, problem }: PullState) => {
    // The app may tell LiveStore to ignore a reset. Then refused pushes report the problem.
    if (command._tag === 'Fail' && command.end._tag !== 'BackendIdMismatch') hasFailed = true
    if (connected === undefined || (command._tag === 'Give' && !connected)) return
    if (live === undefined) connection.observed(connected)
    else if (connected) live.up()
    else live.down()
    problems.reading(problem)
  }

  const close = () => {
    // A failed pull stays in the decision about `isConnected`: it brings nothing more, whatever a ping finds.
    if (!hasFailed) live?.close()
  }

  return { report, close }
}

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
