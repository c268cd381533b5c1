// Events as LiveStore pushes them, and as a log holds them.
import type { LiveStoreEvent } from '@livestore/common/schema'
import { backendIdIn, firstBreak, follows, isNext, ROOT } from '../../client/src/protocol/index.js'

type Link = Parameters<typeof follows>[0]

export type Event = LiveStoreEvent.Global.Encoded

/** `count` linked events after `parent`. `args` makes them larger or distinguishes writers. */
export const eventsFrom = (parent: number, count: number, args: Record<string, unknown> = {}, clientId = 'a-client') =>
  linked(parent, count, (seqNum) => ({
    name: 'v1.Noted',
    args: { id: `${clientId}-${seqNum}`, ...args },
    clientId,
    sessionId: 'a-session',
  })) as unknown as Event[]

/** `count` events after `parent`, linked as docs/http-api.md requires. `make` returns the other fields of each. */
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

/** The id that `eventsFrom` gave the event. */
export const idOf = (event: Event): string => (event.args as { id: string }).id

/** The events among the messages of a stream. */
export const eventsIn = <E>(messages: readonly unknown[]): E[] =>
  (messages as (E | { livestore: unknown })[]).filter((message): message is E => !('livestore' in (message as object)))

/** Throws unless the events are a chain from the root. */
export const checkChain = (events: readonly Link[], links: typeof follows = follows): void => {
  const broken = firstBreak(events, ROOT, links)
  if (broken === undefined) return
  const around = JSON.stringify(events.slice(Math.max(0, broken - 1), broken + 1))
  throw new Error(`the chain breaks at event ${broken}: ${around}`)
}

/** The events of a whole stream. Throws unless it has a header, and its chain skips no number. */
export const logOf = <E extends Link>(messages: readonly unknown[]): E[] => {
  const [header, ...log] = messages
  if (backendIdIn(header) === undefined) throw new Error(`no header: ${JSON.stringify(header)}`)
  checkChain(log as E[], isNext)
  return log as E[]
}
