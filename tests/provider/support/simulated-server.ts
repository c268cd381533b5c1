// A Worker, or a log's own server, as a pull sees it, and a network that others answer on.
import { ForeignAnswer, ResponseError, TransportError } from '../../../client/src/http/errors.ts'
import { problemType } from '../../../client/src/protocol/index.js'
import type { LogPage, Outcome, ReadQuery } from '../../../client/src/reading/pull-terms.ts'
import { SimulatedLog } from './simulated-log.ts'

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

/** A simulated log with the answers of its reader's server. */
export class SimulatedServer extends SimulatedLog {
  readonly #party: 'worker' | 'log'
  readonly #perPage: number
  /** Whether the stream is closed. A reset opens another one. */
  closed = false

  constructor(party: 'worker' | 'log', perPage: number) {
    super()
    this.exists = true
    this.#party = party
    this.#perPage = perPage
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
    const from = this.#startOf(query)
    if (from === undefined) {
      const field = query.after === undefined ? 'offset' : 'after'
      return { _tag: 'Failed', failure: new ResponseError(URL, 400, { type: problemType('bad-request'), field }, 0) }
    }
    const page = this.#page(
      from,
      trouble === 'stale' ? Math.max(0, from, this.appends.length - 1) : this.appends.length,
    )
    if (trouble === 'nowhere')
      return { _tag: 'Page', page: { ...page, messages: [], next: query.offset, upToDate: false } }
    if (trouble === 'another backend') return { _tag: 'Page', page: { ...page, backendId: 'another' } }
    // An event is missing, but not the last one, which would be no break
    const missing = from < 0 ? 1 : 0
    if (trouble === 'mangled' && page.messages.length > missing + 1) {
      return { _tag: 'Page', page: { ...page, messages: page.messages.filter((_, i) => i !== missing) } }
    }
    return { _tag: 'Page', page }
  }

  /** The place at which a reader begins, as `placeOf` has it. */
  #startOf({ offset, after }: ReadQuery): number | undefined {
    if (after === undefined) return this.placeOf(offset)
    if (after > this.head) return undefined
    if (after === this.head) return this.appends.length
    return this.appends.findIndex((events) => events.some(({ seqNum }) => seqNum > after))
  }

  #page(from: number, end: number): LogPage {
    const to = Math.min(end, Math.max(0, from) + this.#perPage)
    return {
      url: URL,
      messages: this.messages(from, to),
      next: this.offset(to),
      upToDate: to >= end,
      cursor: undefined,
      backendId: this.#party === 'worker' ? this.backendId : undefined,
      head: this.#party === 'worker' ? this.head : undefined,
      canStream: true,
      ...(this.closed && to >= end ? { closed: true } : {}),
    }
  }
}
