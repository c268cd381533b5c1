// The interface of a scenario. A client process (`../round-client.ts`) calls `run`. The other fields are for the rounds and
// the report.
import { isNext } from '../../client/src/protocol/index.js'
import type { Client } from '../client.ts'
import type { Event } from '../events.ts'
import type { Endpoint, Processes, SystemId } from '../systems/model.ts'

export interface Scenario {
  /** A letter, as in docs/performance.md. A variant adds more characters. */
  readonly id: string
  readonly title: (quick: boolean) => string
  /** The chart shows the first one. */
  readonly metrics: readonly Metric[]
  /** The reason why a system is not measured; undefined if it is. */
  readonly exclusion?: (system: SystemId) => string | undefined
  /** Stores that exist before the round begins, with their number of events. */
  readonly fill?: (quick: boolean) => Readonly<Record<string, number>>
  /** Overrides of Headwater's settings. */
  readonly vars?: Readonly<Record<string, string>>
  /** The number of rounds: fewer for a system that takes minutes. */
  readonly rounds?: (system: SystemId, asked: number) => number
  readonly run: (round: Round) => Promise<Readonly<Record<string, number>>>
}

export interface Metric {
  readonly key: string
  readonly title: string
  readonly better: 'less' | 'more'
}

export interface Round {
  readonly endpoint: Endpoint
  readonly processes: Processes
  readonly quick: boolean
  open(storeId: string, fetch?: typeof globalThis.fetch): Promise<Client>
  /** Reports something that the figures do not show. */
  problem(what: string): void
}

export const ms = (key: string, title = key): Metric => ({ key, title: `${title}, ms`, better: 'less' })
export const seconds = (key: string, title = key): Metric => ({ key, title: `${title}, s`, better: 'less' })
export const count = (key: string, title = key): Metric => ({ key, title, better: 'less' })
export const rate = (key: string, title: string): Metric => ({ key, title, better: 'more' })

export const percentile = (values: readonly number[], p: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))] ?? Number.NaN
}

/** Follows a chain, and throws at an event that does not link. */
export class ChainCheck {
  head = 0
  events = 0

  take(events: readonly Event[]): void {
    for (const event of events) {
      if (!isNext(event, this.head)) {
        throw new Error(`the chain is broken: event ${event.seqNum} on ${event.parentSeqNum} comes after ${this.head}`)
      }
      this.head = event.seqNum
      this.events += 1
    }
  }
}

/** Reads the whole store with a new client, and checks the number of events and their chain. */
export async function verify(round: Round, storeId: string, expected: number): Promise<void> {
  const client = await round.open(storeId)
  const check = new ChainCheck()
  try {
    const error = await client.pull((events) => check.take(events)).ended
    if (error !== undefined) throw new Error(error)
    if (check.events !== expected)
      throw new Error(`the store ${storeId} has ${check.events} events instead of ${expected}`)
  } finally {
    await client.close()
  }
}

/** Pushes a batch, and returns the milliseconds that the push took. Fails unless the push is accepted. */
export async function pushAccepted(client: Client, batch: readonly Event[]): Promise<number> {
  const start = performance.now()
  const outcome = await client.push(batch)
  const took = performance.now() - start
  if (outcome._tag !== 'accepted')
    throw new Error(`a push was ${outcome._tag}${outcome._tag === 'failed' ? `: ${outcome.reason}` : ''}`)
  return took
}

export async function until(holds: () => boolean, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return true
}
