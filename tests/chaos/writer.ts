// A client that follows LiveStore's rules on the wire. It pulls from its offset, drops known events, takes its own events that come
// back as confirmed, rebases the pending ones onto the head, and pushes them in batches. It pushes the same batch again while the
// outcome is unknown, and pulls and rebases if the server is ahead.
import { setTimeout as pause } from 'node:timers/promises'
import type { Random } from '../support/random.ts'
import { isAcknowledgement, isRead, messagesOf, problemOf } from './genuine.ts'
import { type ChaosEvent, type History, View } from './history.ts'
import { Stalls } from './stalls.ts'
import type { Tally } from './tally.ts'

/** Every answer must come within this time. All attempts of the Worker take far less. */
const ANSWER_MS = 30_000
const PENDING_CAP = 40
const BATCH_CAP = 10

interface WriterOptions {
  name: string
  /** The store's URL at the Worker. */
  url: string
  random: Random
  mostPadding: number
  history: History
  tally: Tally
  /** The stalls of all the store's writers together. */
  storeStalls: Stalls
  /** Ends the writer at once. */
  giveUp: AbortSignal
}

interface Batch {
  readonly id: string
  readonly events: readonly ChaosEvent[]
  /** Whether an answer to the batch never came, was a 5xx, or was somebody else's. */
  doubtful: boolean
}

export class Writer {
  readonly view: View
  readonly #options: WriterOptions
  readonly #stalls: Stalls
  /** The ids of its events that are not in the log yet as far as it knows, in order. */
  #pending: string[] = []
  #making = true
  #made = 0
  #batches = 0
  #offset = '-1'
  #backendId: string | undefined
  #doing = 'nothing yet'

  constructor(options: WriterOptions) {
    this.#options = options
    this.view = new View(options.name)
    this.#stalls = new Stalls(options.tally.stalls.writer)
  }

  /** Makes and pushes events until `finish` is called and all are in the log. */
  async run(): Promise<void> {
    const { random } = this.#options
    while (this.#making || this.#pending.length > 0) {
      if (this.#making && random.chance(0.8)) this.#make(random.between(1, 12))
      const accepted = this.#pending.length === 0 || (await this.#pushUntilKnown(this.#nextBatch()))
      // The writer rebases and pushes refused events at once. A writer whose push landed has the newest head. Without a pause, as
      // between a user's actions, it would push again before the others have pulled.
      if (this.#making && accepted) await this.#pause(random.between(50, 400))
    }
    this.#doing = 'finished'
  }

  /** Makes no more events. `run` ends when the pending ones are in the log. From now on there are no faults. */
  finish(): void {
    this.#making = false
    this.#stalls.calm()
    this.#options.storeStalls.calm()
  }

  /** Pulls to the tail, so that the view shows the whole log. */
  catchUp = (): Promise<void> => this.#pull()

  state(): string {
    const { name } = this.#options
    return `${name}: head ${this.view.head}, offset ${this.#offset}, ${this.#pending.length} pending; ${this.#doing}`
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

  /** The first pending events on the head, in an attempt of their own. */
  #nextBatch(): Batch {
    const { name, random, history, mostPadding } = this.#options
    const id = `${name}/${++this.#batches}`
    const events = this.#pending.slice(0, random.between(1, BATCH_CAP)).map((event, index): ChaosEvent => {
      const attempt = `${event}@${id}`
      history.attempts.set(attempt, { event, batch: id, outcome: 'maybe' })
      const padding = 'x'.repeat(random.chance(0.03) ? random.between(5_000, 20_000) : random.between(0, mostPadding))
      const parentSeqNum = this.view.head + index
      const args = { event, attempt, padding }
      return { name: 'chaos', args, seqNum: parentSeqNum + 1, parentSeqNum, clientId: name, sessionId: 's' }
    })
    return { id, events, doubtful: false }
  }

  /** True if the events are in the log; false if the writer must rebase them. */
  async #pushUntilKnown(batch: Batch): Promise<boolean> {
    const { random } = this.#options
    const parent = this.view.head
    for (let tries = 1; ; tries++) {
      this.#doing = `pushing ${batch.id} (${batch.events.length} events on ${parent}), try ${tries}`
      const outcome = await this.#push(batch)
      if (outcome === 'accepted') {
        this.#accepted(batch)
        return true
      }
      if (outcome === 'behind') {
        await this.#behind(batch, parent)
        return false
      }
      batch.doubtful = true
      this.#doing += ', of unknown outcome'
      await this.#pause(random.between(20, 200))
      // LiveStore pulls all the time, and may receive events before the next try. Otherwise it pushes the very same batch again.
      if (random.chance(0.25)) await this.#pull()
      if (this.view.head !== parent) return false
    }
  }

  async #push({ id, events }: Batch): Promise<'accepted' | 'behind' | 'unknown'> {
    const { url, random, history, tally, giveUp } = this.#options
    giveUp.throwIfAborted()
    const tooLong = AbortSignal.timeout(ANSWER_MS)
    const leave = random.chance(0.04) ? AbortSignal.timeout(random.between(1, 400)) : undefined
    const headers = {
      'content-type': 'application/json',
      ...(this.#backendId ? { 'livestore-backend-id': this.#backendId } : {}),
    }
    const signal = AbortSignal.any([giveUp, tooLong, ...(leave ? [leave] : [])])
    try {
      const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(events), signal })
      const [first, last] = [events.at(0)?.seqNum ?? 0, events.at(-1)?.seqNum ?? 0]
      if (isAcknowledgement(response, { first, last, backendId: this.#backendId })) {
        tally.answered('200')
        this.#learn(response.headers.get('livestore-backend-id') ?? '')
        await response.body?.cancel()
        return 'accepted'
      }
      const { status } = response
      const problem = problemOf(response, await response.text())
      if (problem === undefined) {
        tally.answered(`${status}, somebody else's`)
        return 'unknown'
      }
      const { _tag, minimumExpectedNum = 0 } = problem
      tally.answered(`${status} ${_tag}`)
      if (status === 429 || status >= 500) return 'unknown'
      const understood = _tag === 'ServerAheadError' && minimumExpectedNum > first
      if (!understood) history.anomalies.push(`${id} was answered ${status} ${JSON.stringify(problem)}`)
      return 'behind'
    } catch {
      giveUp.throwIfAborted()
      if (tooLong.aborted) history.anomalies.push(`${id} was not answered in ${ANSWER_MS / 1000} s`)
      if (leave?.aborted) tally.troubles['client left'] += 1
      tally.answered(leave?.aborted ? 'left' : 'none')
      return 'unknown'
    }
  }

  #accepted({ events }: Batch): void {
    for (const event of events) {
      this.#outcome(event, 'acknowledged')
      this.view.take(event)
    }
    this.#confirmed(events.length)
  }

  async #behind({ id, events, doubtful }: Batch, parent: number): Promise<void> {
    if (!doubtful) for (const event of events) this.#outcome(event, 'refused')
    await this.#pull()
    // LiveStore waits for the events that the refusal names. Without a pull that brings them, it would wait forever
    if (this.view.head === parent)
      this.#options.history.anomalies.push(`${id} on ${parent} was refused, but a pull brought nothing`)
  }

  #outcome({ args }: ChaosEvent, outcome: 'acknowledged' | 'refused'): void {
    const attempt = this.#options.history.attempts.get(args.attempt)
    if (attempt) attempt.outcome = outcome
  }

  #confirmed(count: number): void {
    this.#pending.splice(0, count)
    this.#stalls.progressed(this.#pending.length > 0)
    this.#options.storeStalls.progressed(true)
  }

  async #pull(): Promise<void> {
    while (!(await this.#pullPage())) await this.#pause(this.#options.random.between(10, 100))
  }

  /** Returns true at the tail. */
  async #pullPage(): Promise<boolean> {
    const { name, url, history, giveUp } = this.#options
    const tooLong = AbortSignal.timeout(ANSWER_MS)
    this.#doing += ', pulling'
    try {
      const signal = AbortSignal.any([giveUp, tooLong])
      const response = await fetch(`${url}?offset=${this.#offset}`, { signal })
      const messages = messagesOf(await response.text())
      const offset = response.headers.get('stream-next-offset')
      // The log has moved, and its offsets are others: a client begins again
      if (response.status === 410) this.#offset = '-1'
      if (!isRead(response) || messages === undefined || offset === null) return false
      for (const message of messages) {
        if ('livestore' in message) this.#learn(message.livestore.backendId)
        else this.#pulled(message)
      }
      this.#offset = offset
      return response.headers.has('stream-up-to-date')
    } catch {
      giveUp.throwIfAborted()
      if (tooLong.aborted)
        history.anomalies.push(`a pull of ${name} from ${this.#offset} did not end in ${ANSWER_MS / 1000} s`)
      return false // no answer, or a broken one
    }
  }

  /** A changed backend id would make a store start over. */
  #learn(backendId: string): void {
    const { name, history } = this.#options
    if (backendId !== (this.#backendId ?? backendId))
      history.anomalies.push(`${name} met the backend ${backendId} after ${this.#backendId}`)
    this.#backendId = backendId
  }

  #pulled(event: ChaosEvent): void {
    if (this.view.take(event) && event.args.event === this.#pending[0]) this.#confirmed(1)
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#options.giveUp })
  }
}
