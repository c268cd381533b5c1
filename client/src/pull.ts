/**
 * The pull: reads sessions one after the other, judges what they bring, and hands LiveStore items.
 *
 * It runs only while LiveStore asks for the next item, so everything handed out before has been processed whenever
 * anything here changes. That is what makes two of LiveStore's rules hold (LeaderSyncProcessor.ts,
 * `backgroundBackendPulling`): items wait while `isConnected` is false, and local pushes wait from an item that says
 * more until one that says `NoMore`. Neither can be left waiting by a connection that is lost meanwhile.
 */
import { type BackendIdMismatchError, type IsOfflineError, SyncBackend, UnknownError } from '@livestore/common'
import { Effect, Option, Schedule, type Scope, Stream } from 'effect'

import type { BackendId } from './backend-id.ts'
import { backoffDelay } from './backoff.ts'
import type { Connection, LiveConnection } from './connection.ts'
import { type HttpFailure, isDenied, isTransient, noOffset, retryAfterMs, toSyncError, toUnknownError, TransportError } from './errors.ts'
import { afterSse, liveModeAt, type SseLife, startLiveMode } from './live-mode.ts'
import type { Settings } from './options.ts'
import { cutPage, type Page, type PullResItem, readPage, START_OFFSET, startOf } from './page.ts'
import type { BareLog, Source } from './route.ts'
import { type Batch, type Next, openSession, type Session } from './session.ts'

export type PullError = IsOfflineError | BackendIdMismatchError | UnknownError

export interface PullDeps {
  readonly source: Source
  readonly backendId: BackendId
  readonly connection: Connection
  readonly settings: Settings
  /** The live pulls now open, for a push that learns that the server is ahead. */
  readonly livePulls: Set<LivePull>
  /** Failures in a row of pulls that are not live: LiveStore starts a failed pull anew at once, whatever the cause. */
  readonly pace: { failures: number }
}

export interface LivePull {
  /** Makes the pull catch up at once, and again until it has brought this seqNum. */
  readonly catchUpTo: (seqNum: number) => Effect.Effect<void>
}

type Cursor = Parameters<SyncBackend.SyncBackend['pull']>[0]

export const makePull =
  (deps: PullDeps) =>
  (cursor: Cursor, options?: { readonly live?: boolean }): Stream.Stream<PullResItem, PullError> =>
    Stream.unwrapScoped(
      Effect.map(options?.live === true ? openLivePull(deps, cursor) : openPlainPull(deps, cursor), ({ next }) =>
        Stream.repeatEffectOption(next),
      ),
    )

const openPlainPull = (deps: PullDeps, cursor: Cursor) => acquirePuller(deps, cursor, undefined)

const openLivePull = (deps: PullDeps, cursor: Cursor) =>
  Effect.gen(function* () {
    const puller = yield* acquirePuller(deps, cursor, yield* deps.connection.live)
    yield* Effect.acquireRelease(
      Effect.sync(() => deps.livePulls.add(puller)),
      () => Effect.sync(() => deps.livePulls.delete(puller)),
    )
    return puller
  })

interface Puller extends LivePull {
  /** Fails with `None` when all is read. */
  readonly next: Effect.Effect<PullResItem, Option.Option<PullError>>
}

const acquirePuller = (deps: PullDeps, cursor: Cursor, live: LiveConnection | undefined) =>
  Effect.map(
    Effect.acquireRelease(makePuller(deps, cursor, live), ({ close }) => close),
    ({ puller }) => puller,
  ) satisfies Effect.Effect<Puller, never, Scope.Scope>

/** A session shorter than this counts as a failed try, however well it began, unless it brought events. */
const SHORTEST_LIFE_MS = 1_000

const makePuller = (deps: PullDeps, cursor: Cursor, live: LiveConnection | undefined) =>
  Effect.gen(function* () {
    const { settings, backendId, source } = deps
    const { bare } = source
    const wake = yield* Effect.makeLatch(false)

    /** The last good position: where the next read starts, and the last event that LiveStore was given. */
    const start = startOf(cursor)
    const position = { offset: start.offset ?? START_OFFSET, seqNum: start.seqNum }
    /** A cursor without an offset: the Worker finds it by its seqNum (docs/wire.md); the log itself is read from its start. */
    const findsBySeqNum = start.offset === undefined && start.seqNum > 0 && bare === undefined
    /** The seqNum up to which a catch-up is owed, and how many have not brought it. */
    let target = 0
    let overdue = 0
    const ready: Array<PullResItem> = []
    let started = false
    let said = SyncBackend.pageInfoNoMore as PullResItem['pageInfo']
    let ended = false

    let session: Session | undefined
    /** What the open session has done so far. */
    let onePage = true
    let answered = false
    let progressed = false
    let caughtUp = false

    let failures = live === undefined ? deps.pace.failures : 0
    let setback: { readonly delay: number; readonly lost: boolean } | undefined =
      failures > 0 ? { delay: backoffDelay(failures, settings), lost: false } : undefined
    let liveMode = startLiveMode(settings.liveMode)
    /** The last page broke the chain, and is being read once more. */
    let suspect = false
    /** Read past HTTP caches: they may hold what a reset has thrown away. */
    let fresh = false

    const next: Puller['next'] = Effect.gen(function* () {
      while (ready.length === 0) {
        if (ended) return yield* Effect.fail(Option.none<PullError>())
        yield* Effect.mapError(step, Option.some)
      }
      const item = ready.shift() ?? SyncBackend.pullResItemEmpty()
      started = true
      said = item.pageInfo
      return item as PullResItem
    })

    const step: Effect.Effect<void, PullError> = Effect.gen(function* () {
      if (setback !== undefined) yield* sitOut(setback)
      const open = session ?? (yield* openNext)
      if (open === undefined) return
      const got = yield* waitFor(open)
      switch (got._tag) {
        case 'Batch':
          return yield* onBatch(open, got.batch)
        case 'Renew':
          if (position.seqNum < target) overdue++
          noteSse(open, 'left')
          return closeSession()
        case 'OtherBackend':
          return yield* doubting(open, backendId.observe(got.backendId))
        default:
          return yield* onEnd(open, got)
      }
    })

    const sitOut = ({ delay, lost }: NonNullable<typeof setback>) =>
      Effect.gen(function* () {
        setback = undefined
        if (lost && live !== undefined) yield* live.down
        if (delay > 0) yield* Effect.raceFirst(Effect.sleep(delay), wake.await)
      })

    const openNext: Effect.Effect<Session | undefined, PullError> = Effect.gen(function* () {
      yield* wake.close
      onePage = live === undefined || suspect
      answered = progressed = caughtUp = false
      const checkedAt = Date.now()
      const failure = yield* identify
      if (failure !== undefined) return yield* Effect.as(onLost(failure, checkedAt), undefined)
      session = openSession({
        url: bySeqNum() ? `${source.url}?after=${position.seqNum}` : source.url,
        offset: position.offset,
        live: onePage ? false : liveModeAt(liveMode, Date.now()),
        // Whoever remembers no backend cannot tell a cached page of an old one.
        fresh: fresh || backendId.remembered() === undefined,
        isExpected: (id) => id === (backendId.remembered() ?? id),
        fetch: source.fetch,
        stallTimeout: settings.stallTimeout,
        firstByteTimeout: settings.firstByteTimeout,
        renewAfter: settings.renewInterval * (0.75 + Math.random() / 4),
      })
      return session
    })

    const bySeqNum = () => findsBySeqNum && position.offset === START_OFFSET

    /** From the start on, the log says itself whose it is; from anywhere else a log without a Worker before it does not. */
    const identify: Effect.Effect<HttpFailure | undefined, PullError> = Effect.suspend(() => {
      if (bare === undefined || position.offset === START_OFFSET) return Effect.succeed(undefined)
      const fails = (failure: HttpFailure): Effect.Effect<HttpFailure | undefined> => Effect.succeed(failure)
      return Effect.catchTags(identifyLog(bare), { TransportError: fails, ResponseError: fails })
    })

    const identifyLog = (log: BareLog) =>
      Effect.gen(function* () {
        let id = yield* log.identify
        if (id === undefined && live !== undefined) {
          yield* Effect.catchIf(log.create, isDenied, () => Effect.void)
          id = yield* log.identify
        }
        if (id !== undefined) yield* backendId.observe(id)
        return undefined
      })

    /**
     * A session that has caught up is left for a newer one in good time, and soon when a push has said that it misses
     * something: then it is followed, too, but not believed.
     */
    const waitFor = (open: Session): Effect.Effect<Next | { readonly _tag: 'Renew' }> => {
      const batch = Effect.promise(open.next)
      if (!caughtUp) return batch
      const inGoodTime = Math.max(0, open.renewAt - Date.now())
      const wait = position.seqNum < target ? Math.min(inGoodTime, backoffDelay(overdue + 1, settings)) : inGoodTime
      const renew = Effect.raceFirst(wake.await, Effect.sleep(wait))
      return Effect.raceFirst(batch, Effect.as(renew, { _tag: 'Renew' }))
    }

    const onBatch = (open: Session, batch: Batch): Effect.Effect<void, PullError> =>
      doubting(open, Effect.gen(function* () {
        answered = true
        const page = readPage(batch.messages, position.seqNum)
        // The log's own word goes first: on a first contact it is the one to remember.
        for (const id of [page.backendId ?? idFromStart(batch), open.backendId()]) {
          if (id !== undefined) yield* backendId.observe(id)
        }
        // Offsets only grow (PROTOCOL 8): one that goes back may be another log's, whatever a memory on the way says.
        if (position.offset !== START_OFFSET && batch.offset < position.offset) yield* backendId.confirm
        if (page._tag === 'Broken') return yield* onBroken(page)
        suspect = fresh = false

        yield* live === undefined ? deps.connection.observed(true) : live.up
        const stuck = !batch.upToDate && batch.offset === position.offset
        accept(page.events, batch, bare === undefined ? (open.head() ?? 0) : undefined)
        // An empty stream may be one whose header is still on its way: nothing may be put before that.
        if (batch.upToDate && backendId.remembered() !== undefined) {
          bare?.onTail({ offset: batch.offset, head: position.seqNum })
        }
        if (stuck) yield* onEnd(open, { _tag: 'Failed', failure: leadsNowhere(batch) })
      }))

    const idFromStart = ({ messages }: Batch): string | undefined =>
      position.offset === START_OFFSET && messages.length > 0 ? bare?.idOf(messages) : undefined

    const accept = (events: (Page & { _tag: 'Linked' })['events'], batch: Batch, head: number | undefined): void => {
      const isEnd = batch.upToDate || caughtUp
      ready.push(
        ...cutPage(events, {
          readFrom: bySeqNum() ? undefined : position.offset,
          next: batch.offset,
          upToDate: isEnd,
          head,
          maxItemEvents: settings.maxItemEvents,
        }),
      )
      position.offset = batch.offset
      position.seqNum = events.at(-1)?.seqNum ?? position.seqNum
      if (events.length > 0) {
        progressed = true
        overdue = 0
        if (position.seqNum >= target) wake.unsafeClose()
      }

      if (isEnd) {
        caughtUp = true
        if (events.length === 0 && (!started || owesNoMore())) ready.push(SyncBackend.pullResItemEmpty())
        if (live === undefined) {
          ended = true
          deps.pace.failures = 0
        }
      }
      if (onePage) closeSession()
    }

    /** A page whose end is its beginning, and not the log's. What a live read brings may have been cut off before its offset. */
    const leadsNowhere = ({ messages }: Batch): HttpFailure =>
      messages.length > 0 && position.offset === START_OFFSET && !caughtUp
        ? noOffset(source.url, 200)
        : new TransportError('a page that leads nowhere')

    /** A break is never applied. A torn or repeated delivery heals when read again; a broken log does not. */
    const onBroken = ({ expected, found }: Page & { _tag: 'Broken' }): Effect.Effect<void, PullError | HttpFailure> =>
      Effect.gen(function* () {
        if (!suspect) {
          suspect = fresh = true
          return closeSession()
        }
        yield* confirmBackend
        const note = `the log is broken after offset ${position.offset}: expected ${expected}, found ${found}`
        return yield* new UnknownError({ cause: new Error(note), note, payload: { ...position, expected, found } })
      })

    /** A server that answers, but not this: it has seen the broken log too. */
    const confirmBackend = backendId.confirm.pipe(
      Effect.retry({
        while: (error) => error._tag !== 'BackendIdMismatchError',
        schedule: Schedule.exponential(settings.initialDelay).pipe(Schedule.intersect(Schedule.recurs(2))),
      }),
      Effect.catchTag('ResponseError', () => Effect.void),
    )

    /** An answer that cannot be judged, of another backend but unconfirmed, is no answer: it is asked for again. */
    const doubting = (open: Session, judging: Effect.Effect<void, PullError | HttpFailure>): Effect.Effect<void, PullError> => {
      const onDoubt = (failure: HttpFailure) => {
        fresh = true
        return onEnd(open, { _tag: 'Failed', failure })
      }
      return Effect.catchTags(judging, { TransportError: onDoubt, ResponseError: onDoubt })
    }

    const onEnd = (open: Session, end: Next & { _tag: 'Ended' | 'Failed' }): Effect.Effect<void, PullError> =>
      Effect.gen(function* () {
        closeSession()
        noteSse(open, 'cut')
        yield* onLost(end._tag === 'Failed' ? end.failure : undefined, open.openedAt)
      })

    const noteSse = (open: Session, end: SseLife['end']): void => {
      const sse = open.sse()
      if (sse === undefined) return
      const now = Date.now()
      const life = { lastedMs: now - sse.since, heard: sse.heard, end: sse.silent ? ('silence' as const) : end }
      liveMode = afterSse(liveMode, life, now)
    }

    const onLost = (lostBy: HttpFailure | undefined, openedAt: number): Effect.Effect<void, PullError> =>
      Effect.gen(function* () {
        let failure = lostBy
        bare?.onLost()
        failures = progressed || (answered && Date.now() - openedAt >= SHORTEST_LIFE_MS) ? 0 : failures + 1
        if (bare !== undefined && failure !== undefined && isMissing(failure)) return yield* onMissing(bare)
        if (failure !== undefined && !isTransient(failure)) {
          if (canStartOver(failure)) position.offset = START_OFFSET
          else failure = yield* onRefused(failure)
        }
        if (live === undefined && failures >= settings.attempts) {
          deps.pace.failures = failures
          yield* deps.connection.observed(false)
          return yield* toSyncError(failure ?? new TransportError('the server closed the read'))
        }
        if (owesNoMore()) ready.push(SyncBackend.pullResItemEmpty())
        const wait = failure === undefined || failures > 0 ? backoffDelay(failures, settings) : backoffDelay(1, settings) / 2
        setback = {
          delay: failure === undefined ? wait : Math.max(wait, retryAfterMs(failure)),
          // Not at the routine end of a connection, but when a new one did not come about.
          lost: !answered,
        }
      })

    /** What the Worker does for a store without a stream (docs/wire.md): there is nothing, or it is made to be followed. */
    const onMissing = ({ create }: BareLog): Effect.Effect<void, PullError> =>
      Effect.gen(function* () {
        if (live === undefined) {
          yield* deps.connection.observed(true)
          return accept([], { messages: [], offset: position.offset, upToDate: true }, undefined)
        }
        const made = yield* Effect.either(create)
        const failure = made._tag === 'Left' ? made.left : undefined
        // Who may only read has all there is, until someone else makes it.
        const isDone = failure !== undefined && isDenied(failure)
        if (failure !== undefined && !isDone && !isTransient(failure)) return yield* toUnknownError(failure)
        if (isDone) yield* live.up
        if (owesNoMore() || (isDone && !started)) ready.push(SyncBackend.pullResItemEmpty())
        setback = {
          delay: backoffDelay(failure === undefined ? failures - 1 : failures, settings),
          lost: failure !== undefined && !isDone,
        }
      })

    /** More was said to come. Where it doesn't for now, an item that takes it back lets local pushes go on. */
    const owesNoMore = (): boolean => (ready.at(-1)?.pageInfo ?? said)._tag !== 'NoMore'

    /** An offset that the server does not know, as after a move to another one: the events before the cursor are dropped. */
    const canStartOver = (failure: HttpFailure): boolean =>
      failure._tag === 'ResponseError' &&
      (failure.status === 400 || failure.status === 410) &&
      position.offset !== START_OFFSET

    /** The end of the pull, but for a log too short for the cursor: first it must be sure whose that is. */
    const onRefused = (failure: HttpFailure): Effect.Effect<HttpFailure, PullError> => {
      if (failure._tag !== 'ResponseError' || failure.problem['field'] !== 'after') return Effect.fail(toUnknownError(failure))
      const note = `the log ends before event ${position.seqNum}, which this store has: it is not the log this store was synced with`
      const error = new UnknownError({ cause: failure, note, payload: { status: failure.status, ...failure.problem } })
      return confirmBackend.pipe(
        Effect.zipRight(Effect.fail(error)),
        Effect.catchTag('TransportError', (unsure) => Effect.succeed(unsure)),
      )
    }

    const closeSession = (): void => {
      session?.close()
      session = undefined
    }

    const catchUpTo = (seqNum: number) =>
      Effect.suspend(() => {
        target = Math.max(target, seqNum)
        return position.seqNum < target ? wake.open : Effect.void
      })

    return { puller: { next, catchUpTo } satisfies Puller, close: Effect.sync(closeSession) }
  })

/** There is no stream. */
const isMissing = (failure: HttpFailure): boolean => failure._tag === 'ResponseError' && failure.status === 404
