// A Worker, or a log's own server, as a pull sees it: a log of appends that grows, and a network that others answer on.

import { ForeignAnswer, ResponseError, TransportError } from '../../../client/src/http/errors.ts'
import { headerMessage, problemType } from '../../../client/src/protocol/index.js'
import { START_OFFSET } from '../../../client/src/reading/page.ts'
import type { LogPage, Outcome, ReadQuery } from '../../../client/src/reading/pull-terms.ts'
import { type Event, eventsFrom } from '../../support/events.ts'

export type Trouble =
  | 'none'
  | 'no answer'
  | 'a stranger'
  | 'refused'
  | 'unavailable'
  | 'torn'
  | 'mangled'
  | 'stale'
  | 'another backend'
  | 'nowhere'

export const troubles: readonly Trouble[] = [
  'no answer',
  'a stranger',
  'refused',
  'unavailable',
  'torn',
  'mangled',
  'stale',
  'another backend',
  'nowhere',
]

const URL = 'https://sync.example.com/store'

export class SimulatedServer {
  backendId = 'backend-1'
  /** The events of each append. */
  readonly appends: Event[][] = []
  readonly #party: 'worker' | 'log'
  readonly #perPage: number

  constructor(party: 'worker' | 'log', perPage: number) {
    this.#party = party
    this.#perPage = perPage
  }

  get head(): number {
    return this.appends.flat().at(-1)?.seqNum ?? 0
  }

  append(count: number): void {
    this.appends.push(eventsFrom(this.head, count))
  }

  reset(): void {
    this.appends.length = 0
    this.backendId = `${this.backendId}'`
  }

  /** The offset behind so many appends. The header is the first message. */
  offset(appends: number): string {
    return `${this.backendId.length}-${String(appends).padStart(6, '0')}`
  }

  read(query: ReadQuery, trouble: Trouble): Outcome {
    switch (trouble) {
      case 'no answer':
        return { _tag: 'Failed', failure: new TransportError('fetch failed') }
      case 'a stranger':
        return { _tag: 'Failed', failure: new ForeignAnswer(URL, 403, 'it is a page') }
      case 'refused':
        return { _tag: 'Failed', failure: new ResponseError(URL, 401, { type: problemType('unauthorized') }, 0) }
      case 'unavailable':
        return { _tag: 'Failed', failure: new ResponseError(URL, 503, { type: problemType('unavailable') }, 1_000) }
      case 'torn':
        return { _tag: 'Torn', failure: new TransportError('Unexpected end of JSON input') }
    }
    const from = this.#placeOf(query)
    if (from === undefined) {
      const field = query.after === undefined ? 'offset' : 'after'
      return { _tag: 'Failed', failure: new ResponseError(URL, 400, { type: problemType('bad-request'), field }, 0) }
    }
    const page = this.#page(from, trouble === 'stale' ? Math.max(from, this.appends.length - 1) : this.appends.length)
    if (trouble === 'nowhere')
      return { _tag: 'Page', page: { ...page, messages: [], next: query.offset, upToDate: false } }
    if (trouble === 'another backend') return { _tag: 'Page', page: { ...page, backendId: 'another' } }
    // An event is missing, but not the last one, which would be no break
    const missing = from === 0 ? 1 : 0
    if (trouble === 'mangled' && page.messages.length > missing + 1) {
      return { _tag: 'Page', page: { ...page, messages: page.messages.filter((_, i) => i !== missing) } }
    }
    return { _tag: 'Page', page }
  }

  /** The append at which a reader begins; undefined for an unknown offset. */
  #placeOf({ offset, after }: ReadQuery): number | undefined {
    if (after !== undefined) {
      if (after > this.head) return undefined
      return (
        this.appends.findIndex((events) => events.some(({ seqNum }) => seqNum > after)) +
        (after === this.head ? this.appends.length + 1 : 0)
      )
    }
    if (offset === START_OFFSET) return 0
    const at = this.appends.findIndex((_, i) => this.offset(i + 1) === offset)
    return at >= 0 ? at + 1 : offset === this.offset(0) ? 0 : undefined
  }

  #page(from: number, end: number): LogPage {
    const to = Math.min(end, from + this.#perPage)
    const header = from === 0 ? [headerMessage(this.backendId)] : []
    return {
      url: URL,
      messages: [...header, ...this.appends.slice(from, to).flat()],
      next: this.offset(to),
      upToDate: to >= end,
      cursor: undefined,
      backendId: this.#party === 'worker' ? this.backendId : undefined,
      head: this.#party === 'worker' ? this.head : undefined,
      canStream: true,
    }
  }
}
