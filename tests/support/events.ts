// Events as LiveStore pushes them, and property checks that print their seed.
import type { LiveStoreEvent } from '@livestore/common/schema'
import fc from 'fast-check'

export type Event = LiveStoreEvent.Global.Encoded

/** `count` linked events after `parent`. `args` makes them larger or distinguishes writers. */
export const eventsFrom = (parent: number, count: number, args: Record<string, unknown> = {}, clientId = 'a-client') =>
  linked(parent, count, (seqNum) => ({
    name: 'v1.Noted',
    args: { id: `${clientId}-${seqNum}`, ...args },
    clientId,
    sessionId: 'a-session',
  })) as unknown as Event[]

/** `count` events after `parent`, linked as docs/http-api.md wants it. `make` gives the other fields of each. */
export const linked = <A>(parent: number, count: number, make: (seqNum: number) => Unlinked<A>): Linked<A>[] =>
  numbers(parent + 1, parent + count).map((seqNum) => {
    const { name, args, clientId, sessionId } = make(seqNum)
    return { name, args, seqNum, parentSeqNum: seqNum - 1, clientId, sessionId }
  })

interface Unlinked<A> {
  readonly name: string
  readonly args: A
  readonly clientId: string
  readonly sessionId: string
}

interface Linked<A> extends Unlinked<A> {
  readonly seqNum: number
  readonly parentSeqNum: number
}

/** The numbers from `from` to `to`, both included. */
export const numbers = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)

/** `SEED=… npm run test:provider` repeats a run. */
export const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

export const check = <T>(property: fc.IProperty<T>, numRuns = 300): void => {
  console.log(`SEED=${seed}`)
  fc.assert(property as fc.IProperty<unknown>, { seed, numRuns })
}

/** Random numbers from 0 to 1 that a seed repeats (mulberry32). */
export const randomFrom = (seed: number): (() => number) => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
