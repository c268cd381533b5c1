// A client that catches up page by page, and then follows a store by server-sent events through the Worker. When the connection
// ends, it goes on from the last offset, or now and then from the start, as a new device would. It has no timeout of its own:
// the test must find a silent stream, not heal it.
import { setTimeout as pause } from 'node:timers/promises'
import type { Random } from '../support/random.ts'
import { sse } from '../support/sse.ts'
import { isRead, type Message, messagesOf } from './genuine.ts'
import { View } from './history.ts'
import type { Tally } from './tally.ts'

interface ReaderOptions {
  name: string
  /** The store's URL at the Worker. */
  url: string
  random: Random
  tally: Tally
  /** Ends the reader. */
  stop: AbortSignal
}

export class Reader {
  readonly view: View
  readonly #options: ReaderOptions
  #offset = '-1'
  #doing = 'nothing yet'

  constructor(options: ReaderOptions) {
    this.#options = options
    this.view = new View(options.name)
  }

  async run(): Promise<void> {
    const { random, tally, stop } = this.#options
    while (!stop.aborted) {
      await this.#follow().catch((error: unknown) => {
        this.#doing = `lost the connection: ${error}`
      })
      if (stop.aborted) return
      tally.reconnects += 1
      await pause(random.between(20, 200), undefined, { signal: stop }).catch(() => {})
    }
  }

  state(): string {
    return `${this.#options.name}: head ${this.view.head}, offset ${this.#offset}; ${this.#doing}`
  }

  async #follow(): Promise<void> {
    const { url, stop, random } = this.#options
    if (random.chance(0.4)) this.#offset = '-1'
    await this.#catchUp()
    this.#doing = 'connecting'
    const response = await fetch(`${url}?offset=${this.#offset}&live=sse`, { signal: stop })
    this.#doing = `following, status ${response.status}`
    const isStream = isRead(response) && response.headers.get('content-type')?.startsWith('text/event-stream')
    if (!isStream || response.body === null) return void (await response.body?.cancel())
    for await (const { event, data } of sse(response)) {
      if (event === 'data') this.#events(this.#messages(data))
      if (event === 'control') this.#offset = this.#nextOffset(data)
    }
    this.#doing = 'the stream ended'
  }

  async #catchUp(): Promise<void> {
    const { url, stop } = this.#options
    let before = this.#offset === '-1' ? 0 : undefined
    for (let upToDate = false; !upToDate; ) {
      this.#doing = `catching up from ${this.#offset}`
      const response = await fetch(`${url}?offset=${this.#offset}`, { signal: stop })
      const body = await response.text()
      const messages = messagesOf(body)
      const offset = response.headers.get('stream-next-offset')
      if (!isRead(response) || messages === undefined || offset === null)
        throw new Error(`status ${response.status}: ${body.slice(0, 200)}`)
      // The reader also checks known events, because the view would not notice a gap among them
      for (const message of messages) {
        if ('livestore' in message) continue
        const { seqNum, parentSeqNum } = message
        if (parentSeqNum !== (before ?? parentSeqNum))
          this.view.breaks.push(`${seqNum} with the parent ${parentSeqNum} followed ${before} in a catch-up`)
        before = seqNum
      }
      this.#events(messages)
      this.#offset = offset
      upToDate = response.headers.has('stream-up-to-date')
    }
  }

  /** A whole server-sent event must be JSON, wherever the connection was cut. */
  #messages(data: string): readonly Message[] {
    const messages = messagesOf(data)
    if (messages !== undefined) return messages
    // Somebody else may have answered the Worker, which passes a live read on as it is
    if (!isWhole(data)) this.view.breaks.push(`what followed ${this.#offset} is not JSON: ${data.slice(0, 200)}`)
    throw new Error(`the data has no messages: ${data.slice(0, 200)}`)
  }

  #nextOffset(data: string): string {
    const { streamNextOffset } = JSON.parse(data) as { streamNextOffset?: unknown }
    if (typeof streamNextOffset !== 'string') throw new Error(`the control event has no offset: ${data.slice(0, 200)}`)
    return streamNextOffset
  }

  #events(messages: readonly Message[]): void {
    for (const message of messages) if (!('livestore' in message)) this.view.take(message)
  }
}

const isWhole = (data: string): boolean => {
  try {
    JSON.parse(data)
    return true
  } catch {
    return false
  }
}
