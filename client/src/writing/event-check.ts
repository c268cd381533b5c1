/** Finds the reason why an event can't be pushed, as far as the client can tell. */
import { LiveStoreEvent } from '@livestore/common/schema'

import { decodeEvent } from '../store/event.ts'

type Event = LiveStoreEvent.Global.Encoded

export interface Obstacle {
  readonly seqNum: number
  /** For a person. */
  readonly why: string
}

/** The deepest nesting of arrays and objects in an event (docs/http-api.md, "Events"). */
const MAX_DEPTH = 500

/** `json` is the event as sent, and `bytes` the size of a body that holds it alone. */
export const obstacleOf = (event: Event, json: string, bytes: number, maxBytes: number): Obstacle | undefined => {
  const { seqNum, name } = event
  const because = (why: string): Obstacle => ({ seqNum, why: `event ${seqNum} (${name}) ${why}` })
  if (bytes > maxBytes)
    return because(`takes ${bytes} bytes, but a push may take at most ${maxBytes} (push.maxBatchBytes)`)
  if (isDeeperThan(json, MAX_DEPTH)) return because(`is nested more than ${MAX_DEPTH} levels deep`)
  if (!survives(event, json)) return because(describeLoss(event))
  return undefined
}

/**
 * Whether LiveStore recognizes the event when it comes back from the log. LiveStore 0.4.0 does not if a key has the name of
 * a method that every object has (fast-deep-equal.js in `@livestore/utils`). It then takes its own event for another one and
 * pushes it again, forever.
 */
const survives = (event: Event, json: string): boolean => {
  try {
    return LiveStoreEvent.Client.isEqualEncoded(
      asClientEvent(event),
      asClientEvent(decodeEvent(JSON.parse(json)) ?? event),
    )
  } catch {
    return false
  }
}

type ClientEvent = Parameters<typeof LiveStoreEvent.Client.isEqualEncoded>[0]

const asClientEvent = (event: Event): ClientEvent => {
  const numbered = (global: number) => ({ global, client: 0, rebaseGeneration: 0 })
  return {
    ...event,
    seqNum: numbered(event.seqNum),
    parentSeqNum: numbered(event.parentSeqNum),
  } as unknown as ClientEvent
}

const describeLoss = ({ args }: Event): string => {
  const key = reservedKeyIn(args)
  const where = key === undefined ? 'its args' : `its args hold the key "${key}"`
  return `can't be synced: ${where}, which LiveStore can't compare with a copy of it. Use keys other than constructor, toString and valueOf`
}

const RESERVED_KEYS = ['constructor', 'toString', 'valueOf']

const reservedKeyIn = (value: unknown): string | undefined => {
  if (typeof value !== 'object' || value === null) return undefined
  const keys = Object.keys(value)
  return (
    RESERVED_KEYS.find((key) => keys.includes(key)) ??
    Object.values(value)
      .map(reservedKeyIn)
      .find((key) => key !== undefined)
  )
}

const isDeeperThan = (json: string, max: number): boolean => {
  // Each level takes two characters. Most events are too short for that: this check is the fast path.
  if (json.length <= 2 * max) return false
  let depth = 0
  for (let i = 0; i < json.length; i++) {
    const char = json[i]
    if (char === '"') i = endOfString(json, i)
    else if (char === '{' || char === '[') {
      if (++depth > max) return true
    } else if (char === '}' || char === ']') depth--
  }
  return false
}

/** The index of the quote that ends the string. */
const endOfString = (json: string, start: number): number => {
  for (let i = json.indexOf('"', start + 1); ; i = json.indexOf('"', i + 1)) {
    let backslashes = 0
    while (json[i - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return i
  }
}
