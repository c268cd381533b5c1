// A log with the protocol's rules for appends and offsets. Direct writers append to it, and simulated-server.ts reads it.
import type { Reply, Request } from '../../../client/src/direct/direct-core.ts'
import { fence, headerMessage } from '../../../client/src/protocol/index.js'
import { START_OFFSET } from '../../../client/src/reading/page.ts'
import { checkChain, type Event, eventsFrom, idOf } from '../../support/events.ts'

export interface Append {
  readonly events: readonly Event[]
  readonly producer?: { readonly id: string; readonly seq: number }
}

export class SimulatedLog {
  backendId = 'backend-1'
  exists = false
  /** The events of each append. */
  readonly appends: Event[][] = []
  private lastSeq = ''
  private producers = new Map<string, number>()
  private late: Append[] = []

  get events(): Event[] {
    return this.appends.flat()
  }
  get head(): number {
    return this.appends.at(-1)?.at(-1)?.seqNum ?? 0
  }
  get tail(): string {
    return this.offset(this.appends.length)
  }

  has(id: string): boolean {
    return this.events.some((_) => idOf(_) === id)
  }

  /** The offset behind the header and so many appends. */
  offset(appends: number): string {
    return `${this.backendId.length}-${String(appends).padStart(6, '0')}`
  }

  /** The number of appends before this offset: -1 before the header, undefined for an unknown offset. */
  placeOf(offset: string): number | undefined {
    if (offset === START_OFFSET) return -1
    const place = Number(offset.split('-')[1])
    return place <= this.appends.length && offset === this.offset(place) ? place : undefined
  }

  messages(from: number, to: number): unknown[] {
    const header = from < 0 ? [headerMessage(this.backendId)] : []
    return [...header, ...this.appends.slice(Math.max(0, from), to).flat()]
  }

  answer(request: Request, append: Append | undefined): Reply {
    if (request._tag === 'Create') {
      if (this.exists) return { _tag: 'Exists' }
      this.exists = true
      return { _tag: 'Created' }
    }
    if (!this.exists) return { _tag: 'Missing' }
    if (request._tag === 'Check') return { _tag: 'Checked', tail: this.tail }
    if (request._tag === 'Append') return this.append(append!)
    const from = this.placeOf(request.from?.offset ?? START_OFFSET)
    if (from === undefined) return { _tag: 'NoSuchOffset' }
    return { _tag: 'Read', messages: this.messages(from, this.appends.length), end: this.tail }
  }

  /** PROTOCOL 5.2 and 5.2.1. */
  append({ events, producer }: Append): Reply {
    if (!this.exists) return { _tag: 'Missing' }
    const last = (producer && this.producers.get(producer.id)) ?? -1
    if (producer && producer.seq <= last) return { _tag: 'Appended', offset: this.tail }
    if (producer && producer.seq > last + 1) return { _tag: 'Forgotten' }
    const seq = fence(events[0]!.parentSeqNum)
    if (seq <= this.lastSeq) return { _tag: 'Conflict' }
    this.lastSeq = seq
    if (producer) this.producers.set(producer.id, producer.seq)
    this.appends.push([...events])
    return { _tag: 'Appended', offset: this.tail }
  }

  /** Somebody appends the next `count` events. */
  grow(count: number): void {
    const { _tag } = this.append({ events: eventsFrom(this.head, count) })
    if (_tag !== 'Appended') throw new Error(`the log refuses its next events: ${_tag}`)
  }

  delay(append: Append) {
    this.late.push(append)
  }
  arriveLate() {
    for (const append of this.late.splice(0)) this.append(append)
  }
  /** A crash or restart that loses the fence, the producers, and the requests under way. */
  forget() {
    this.late = []
    this.lastSeq = ''
    this.producers.clear()
  }

  /** Begins another log at the same place. */
  reset(): void {
    this.forget()
    this.appends.length = 0
    this.backendId = `${this.backendId}'`
  }

  check(acknowledged: readonly string[]) {
    checkChain(this.events)
    const logged = this.events.map(idOf)
    if (new Set(logged).size !== logged.length) throw new Error(`twice in the log: ${logged.join(' ')}`)
    const missing = acknowledged.filter((id) => !logged.includes(id))
    if (missing.length > 0) throw new Error(`acknowledged and not in the log: ${missing.join(' ')}`)
  }
}
