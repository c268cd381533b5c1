// What a scenario is. Its figures are taken in a client process (`../round-client.ts`); the rest is for who runs and reports it.
import { isNext } from '../../client/src/protocol/index.js'
import type { Client } from '../client.ts'
import type { Event } from '../events.ts'
import type { Endpoint, SystemId } from '../systems/model.ts'

export interface Scenario {
  /** A letter, as in the list of scenarios; a variant has something more behind it. */
  readonly id: string
  readonly title: (quick: boolean) => string
  /** The first is what the chart shows. */
  readonly metrics: readonly Metric[]
  /** Why a system isn't asked. */
  readonly not?: (system: SystemId) => string | undefined
  /** Stores that are there before the round begins, and how many events they hold. */
  readonly fill?: (quick: boolean) => Readonly<Record<string, number>>
  /** What takes a system minutes is done fewer times. */
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
  readonly quick: boolean
  open(storeId: string, fetch?: typeof globalThis.fetch): Promise<Client>
  /** Something that the figures don't say: it is reported beside them. */
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

/** Follows a chain; what doesn't link is an error. */
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

/** A fresh client reads the whole store: as many events as there should be, each linked to the one before. */
export async function verify(round: Round, storeId: string, expected: number): Promise<void> {
  const client = await round.open(storeId)
  const check = new ChainCheck()
  try {
    const why = await client.pull((events) => check.take(events)).ended
    if (why !== undefined) throw new Error(why)
    if (check.events !== expected)
      throw new Error(`the store ${storeId} has ${check.events} events instead of ${expected}`)
  } finally {
    await client.close()
  }
}

/** A push that is part of what is measured: anything but acceptance is the scenario's failure. */
export async function accepted(client: Client, batch: readonly Event[]): Promise<number> {
  const start = performance.now()
  const outcome = await client.push(batch)
  const took = performance.now() - start
  if (outcome._tag !== 'accepted')
    throw new Error(`a push was ${outcome._tag}${outcome._tag === 'failed' ? `: ${outcome.why}` : ''}`)
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
