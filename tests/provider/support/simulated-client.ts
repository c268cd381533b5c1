// Clients that write to a simulated log with direct-core.ts as LiveStore's leader does: pull, rebase, push again.
import {
  beginAppend,
  invalidate,
  newPush,
  newWriter,
  nextStep,
  observeTip,
  onReply,
  type Push,
  type Request,
} from '../../../client/src/direct/direct-core.ts'
import { type Event, eventsFrom, idOf } from '../../support/events.ts'
import type { Append, SimulatedLog } from './simulated-log.ts'

export class SimulatedClient {
  readonly acknowledged: string[] = []
  private readonly name: string
  private readonly log: SimulatedLog
  private writer = newWriter
  private producer = ''
  private producers = 0
  private next = 0
  /** The head that it has pulled, and the ids of its events that are not in the log. */
  private head = 0
  private pending: string[] = []
  private push: Push | undefined

  constructor(name: string, log: SimulatedLog) {
    this.name = name
    this.log = log
  }

  isBusy() {
    return this.pending.length > 0
  }

  act(what: number, luck: number) {
    if (what < 15) this.pull()
    else if (what < 20) this.writer = invalidate(this.writer)
    else if (what < 24) this.log.arriveLate()
    else this.step(luck)
  }

  /** The open request fails, and the push with it. LiveStore tries again. */
  loseRequest() {
    if (this.push !== undefined && !this.push.landed) this.push = newPush(this.push.chunk)
  }

  finish() {
    this.pull()
    if (this.pending.length === 0) return
    for (let i = 0; i < 20 && this.pending.length > 0; i++) this.step(99)
  }

  /** As in LeaderSyncProcessor.ts: the client's own events are confirmed. Others make it rebase, which interrupts the push. */
  private pull() {
    if (!this.log.exists) return
    const news = this.log.events.filter((_) => _.seqNum > this.head)
    this.head = this.log.head
    this.writer = observeTip(this.writer, { offset: this.log.tail, head: this.head })
    if (news.length === 0) return
    const ids = news.map(idOf)
    for (const id of this.pending.filter((_) => ids.includes(_))) this.acknowledged.push(id)
    this.pending = this.pending.filter((_) => !ids.includes(_))
    this.push = undefined
  }

  private step(luck: number) {
    if (this.pending.length === 0) {
      for (let i = 0; i <= luck % 3; i++) this.pending.push(`${this.name}-${++this.next}`)
    }
    if (this.push === undefined) {
      const events = this.pending.map((id, i) => ({ ...eventsFrom(this.head + i, 1, {}, this.name)[0]!, args: { id } }))
      this.push = newPush({ body: JSON.stringify(events), events })
    }
    const step = nextStep(this.writer, this.push)
    switch (step._tag) {
      case 'Accepted':
        for (const event of this.push.chunk.events) this.acknowledged.push(idOf(event))
        this.head = this.push.chunk.events.at(-1)!.seqNum
        this.pending = []
        this.push = undefined
        return
      case 'ServerAhead':
        if (this.push.chunk.events.some((_) => this.log.has(idOf(_ as Event))))
          throw new Error(`${this.name} is refused what is in the log`)
        this.push = undefined
        return this.pull()
      case 'Gap':
        throw new Error(`${this.name} sees a gap after ${step.head}`)
      default:
        return this.ask(step, this.push, luck)
    }
  }

  private ask(request: Request, push: Push, luck: number) {
    const before = this.writer
    const append = request._tag === 'Append' ? this.appendOf(request, push) : undefined
    if (request._tag === 'Append') this.writer = beginAppend(request.tip)
    // The caller learns nothing from these three. It tries again from the start
    if (luck < 10 && append !== undefined) this.log.delay(append)
    else if (luck < 20) this.log.answer(request, append)
    if (luck < 30) return this.loseRequest()
    const verdict = onReply(before, push, request, this.log.answer(request, append))
    if (verdict._tag === 'Stop') throw new Error(`${this.name} stops: ${verdict.why}`)
    this.writer = verdict.writer
    this.push = verdict._tag === 'Go' ? verdict.push : newPush(push.chunk)
  }

  private appendOf({ producerSeq }: Request & { _tag: 'Append' }, { chunk }: Push): Append {
    if (producerSeq === 0) this.producer = `${this.name}/${++this.producers}`
    return { events: chunk.events as Event[], producer: { id: this.producer, seq: producerSeq } }
  }
}
