// A client that is the provider itself with its defaults, and therefore on a socket where one gets through. It follows LiveStore's
// rules: it pulls all the time, rebases its pending events onto what comes, and pushes them again until they are in the log. Now
// and then it starts again. The other clients share no code with the provider, so that they check its rules.
import { setTimeout as pause } from 'node:timers/promises'
import { Cause, Effect, Exit, Option, Stream } from '@livestore/utils/effect'
import type { Problem } from '../../client/src/index.ts'
import { type Backend, type Cursor, type Item, open, run } from '../support/backend.ts'
import type { Random } from '../support/random.ts'
import { eventually } from '../support/wait.ts'
import { type ChaosEvent, type History, View } from './history.ts'
import { Stalls } from './stalls.ts'
import type { Tally } from './tally.ts'

/** A refused device must receive the events that it lacks within this time. */
const BEHIND_MS = 30_000
const PENDING_CAP = 40
const BATCH_CAP = 10

interface DeviceOptions {
  name: string
  /** The Worker's URL. */
  workerUrl: string
  tenant: string
  storeId: string
  /** Without it the device only reads. */
  writes: boolean
  mostPadding: number
  random: Random
  history: History
  tally: Tally
  storeStalls: Stalls
  /** Ends the device at once. */
  giveUp: AbortSignal
}

export class Device {
  readonly view: View
  readonly #options: DeviceOptions
  readonly #stalls: Stalls
  /** The ids of its events that are not in the log yet as far as it knows, in order. */
  #pending: string[] = []
  #making: boolean
  #isFinished = false
  #made = 0
  #batches = 0
  #cursor: Cursor = Option.none()
  #backend: Backend | undefined
  #problem: Problem | undefined
  /** Aborts the push under way when others' events come, as LiveStore does. */
  #overtaken = new AbortController()
  #doing = 'nothing yet'

  constructor(options: DeviceOptions) {
    this.#options = options
    this.#making = options.writes
    this.view = new View(options.name)
    this.#stalls = new Stalls(options.tally.stalls.writer)
  }

  /** Resolves when `finish` was called and all its events are in the log. The device goes on pulling until the end. */
  run(): Promise<void> {
    const finished = Promise.withResolvers<void>()
    const givenUp = () => finished.reject(new Error(`${this.#options.name} was given up`))
    this.#lives(finished.resolve).then(givenUp, finished.reject)
    return finished.promise
  }

  /** Makes no more events, and starts no more. From now on there are no faults. */
  finish(): void {
    this.#making = false
    this.#isFinished = true
    this.#stalls.calm()
  }

  /** Resolves when the view has the whole log, and the device shows that all is well. */
  async catchUp(length: number): Promise<void> {
    await this.view.reaches(length)
    const isWell = () => this.#problem === undefined && this.#isConnected()
    await eventually('connected, and no problem', isWell, () => this.state(), BEHIND_MS, this.#options.giveUp)
  }

  state(): string {
    const { name } = this.#options
    const health = `${this.#isConnected() ? '' : 'not '}connected, ${JSON.stringify(this.#problem) ?? 'no problem'}`
    return `${name}: head ${this.view.head}, ${this.#pending.length} pending, ${health}; ${this.#doing}`
  }

  #isConnected(): boolean {
    return this.#backend !== undefined && Effect.runSync(this.#backend.isConnected.get)
  }

  async #lives(onFinished: () => void): Promise<void> {
    const { random, giveUp } = this.#options
    while (!giveUp.aborted) {
      // A new device now and then, which knows nothing. The view checks that it receives the same events
      if (random.chance(0.2)) this.#cursor = Option.none()
      await run(Effect.flatMap(this.#open(), (backend) => Effect.promise(() => this.#live(backend, onFinished))))
    }
  }

  #open() {
    const { workerUrl: url, tenant, storeId } = this.#options
    return open(
      {
        url,
        tenant,
        // Rounds are short
        retry: { maxDelay: 1_000 },
        live: { firstByteTimeout: 2_000, stallTimeout: 4_000, renewInterval: 5_000, reconnectSpread: 200 },
        push: { requestTimeout: 10_000 },
        onProblem: (problem) => {
          this.#problem = problem
        },
      },
      storeId,
    )
  }

  /** The device between two starts. */
  async #live(backend: Backend, onFinished: () => void): Promise<void> {
    const { random, giveUp, history, name } = this.#options
    this.#backend = backend
    this.#problem = undefined
    const over = new AbortController()
    const end = AbortSignal.any([over.signal, giveUp])
    const pulling = Effect.runPromiseExit(
      backend
        .pull(this.#cursor, { live: true })
        .pipe(Stream.runForEach((item) => Effect.sync(() => this.#pulled(item)))),
      { signal: end },
    ).then((exit) => {
      if (!end.aborted) history.anomalies.push(`the pull of ${name} ended: ${String(exit)}`)
    })
    const until = Date.now() + random.between(2_000, 9_000)
    try {
      while (!giveUp.aborted && (this.#isFinished || Date.now() < until)) {
        if (this.#making && random.chance(0.8)) this.#make(random.between(1, 12))
        const accepted = this.#pending.length === 0 || (await this.#pushUntilKnown(backend))
        if (this.#isFinished && this.#pending.length === 0) onFinished()
        if (accepted) await this.#pause(random.between(50, 400))
      }
    } finally {
      over.abort()
      await pulling
      this.#backend = undefined
    }
  }

  #make(count: number): void {
    const { name, history } = this.#options
    for (let i = 0; i < count && this.#pending.length < PENDING_CAP; i++) {
      const id = `${name}-${++this.#made}`
      history.made.add(id)
      this.#pending.push(id)
    }
    this.#stalls.waiting(this.#pending.length > 0)
  }

  /** The first pending events on the head. The provider may push them in parts, so each is a batch to the oracle. */
  #nextBatch(): ChaosEvent[] {
    const { name, random, history, mostPadding } = this.#options
    const id = `${name}/${++this.#batches}`
    const { head } = this.view
    return this.#pending.slice(0, random.between(1, BATCH_CAP)).map((event, index) => {
      const attempt = `${event}@${id}`
      history.attempts.set(attempt, { event, batch: attempt, outcome: 'maybe' })
      const args = { event, attempt, padding: 'x'.repeat(random.between(0, mostPadding)) }
      return {
        name: 'chaos',
        args,
        seqNum: head + index + 1,
        parentSeqNum: head + index,
        clientId: name,
        sessionId: 's',
      }
    })
  }

  /** True if the events are in the log; false if the device must rebase them. */
  async #pushUntilKnown(backend: Backend): Promise<boolean> {
    const { random, giveUp } = this.#options
    const batch = this.#nextBatch()
    const parent = this.view.head
    for (let tries = 1; this.view.head === parent; tries++) {
      giveUp.throwIfAborted()
      this.#doing = `pushing ${batch.length} events on ${parent}, try ${tries}`
      const outcome = await this.#push(backend, batch)
      if (outcome === 'accepted') return true
      if (outcome === 'behind') return false
      await this.#pause(random.between(20, 200))
    }
    return false
  }

  async #push(backend: Backend, batch: readonly ChaosEvent[]): Promise<'accepted' | 'behind' | 'unknown'> {
    const { random, history, tally, giveUp, name } = this.#options
    this.#overtaken = new AbortController()
    const leave = random.chance(0.04) ? AbortSignal.timeout(random.between(1, 400)) : undefined
    const signal = AbortSignal.any([giveUp, this.#overtaken.signal, ...(leave ? [leave] : [])])
    const exit = await Effect.runPromiseExit(backend.push([...batch] as unknown as Parameters<Backend['push']>[0]), {
      signal,
    })
    if (Exit.isSuccess(exit)) {
      tally.answered('provider: accepted')
      this.#accepted(batch)
      return 'accepted'
    }
    if (signal.aborted) {
      if (leave?.aborted) tally.troubles['client left'] += 1
      tally.answered('provider: interrupted')
      return 'unknown'
    }
    const failure = Option.getOrUndefined(Cause.failureOption(exit.cause))
    tally.answered(`provider: ${failure?._tag ?? 'defect'}`)
    if (failure?._tag === 'IsOfflineError') return 'unknown'
    if (failure?._tag === 'ServerAheadError') {
      await this.#behind(failure.minimumExpectedNum - 1)
      return 'behind'
    }
    history.anomalies.push(`a push of ${name} failed: ${Cause.pretty(exit.cause).slice(0, 500)}`)
    await this.#pause(1_000)
    return 'unknown'
  }

  #accepted(batch: readonly ChaosEvent[]): void {
    const { history } = this.#options
    for (const event of batch) {
      const attempt = history.attempts.get(event.args.attempt)
      if (attempt) attempt.outcome = 'acknowledged'
      this.view.take(event)
    }
    const confirmed = new Set(batch.map(({ args }) => args.event))
    this.#confirm(this.#pending.filter((event) => !confirmed.has(event)))
  }

  /** LiveStore waits for the events that the refusal names. */
  async #behind(head: number): Promise<void> {
    const { history, giveUp } = this.#options
    this.#doing += ', behind'
    const late = pause(BEHIND_MS, 'late', { signal: giveUp }).catch(() => 'over')
    if ((await Promise.race([this.view.reaches(head), late])) === 'late')
      history.anomalies.push(`after a refusal the pull did not bring event ${head}: ${this.state()}`)
  }

  #pulled({ batch }: Item): void {
    for (const { eventEncoded, metadata } of batch) {
      const event = eventEncoded as unknown as ChaosEvent
      this.#cursor = Option.some({ eventSequenceNumber: event.seqNum as never, metadata })
      if (!this.view.take(event)) continue
      if (event.args.event === this.#pending[0]) this.#confirm(this.#pending.slice(1))
      else this.#overtaken.abort()
    }
  }

  #confirm(pending: string[]): void {
    if (pending.length === this.#pending.length) return
    this.#pending = pending
    this.#stalls.progressed(pending.length > 0)
    this.#options.storeStalls.progressed(true)
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#options.giveUp }).catch(() => {})
  }
}
