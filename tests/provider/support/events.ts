// Events as LiveStore pushes them, and property checks that print their seed.
import type { LiveStoreEvent } from '@livestore/common/schema'
import fc from 'fast-check'

export type Event = LiveStoreEvent.Global.Encoded

/** `count` linked events after `parent`. `args` makes them larger or distinguishes writers. */
export const eventsFrom = (parent: number, count: number, args: Record<string, unknown> = {}, clientId = 'a-client') =>
  Array.from({ length: count }, (_, i) => ({
    name: 'v1.Noted',
    args: { id: `${clientId}-${parent + i + 1}`, ...args },
    seqNum: parent + i + 1,
    parentSeqNum: parent + i,
    clientId,
    sessionId: 'a-session',
  })) as unknown as Event[]

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
