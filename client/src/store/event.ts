/**
 * Events as they go over the wire. LiveStore's own fields go both ways and nothing else; a field more would make an event
 * that comes back another one than was sent (LiveStoreEvent's `isEqualEncoded`).
 */
import type { LiveStoreEvent } from '@livestore/common/schema'

type Event = LiveStoreEvent.Global.Encoded

/**
 * An event of a schema without arguments (`Schema.Void`) has `args: undefined`, which JSON can't say and `null` is not:
 * it travels as `null` with this mark beside it.
 */
const ARGS_UNDEFINED = 'argsUndefined'

export const encodeEvent = ({ name, args, seqNum, parentSeqNum, clientId, sessionId }: Event): string =>
  args === undefined
    ? JSON.stringify({ name, args: null, seqNum, parentSeqNum, clientId, sessionId, [ARGS_UNDEFINED]: true })
    : JSON.stringify({ name, args, seqNum, parentSeqNum, clientId, sessionId })

/** By hand rather than by Schema: this runs for every event ever pulled. */
export const decodeEvent = (message: unknown): Event | undefined => {
  if (!isRecord(message)) return undefined
  const { name, seqNum, parentSeqNum, clientId, sessionId } = message
  const valid =
    typeof name === 'string' &&
    typeof clientId === 'string' &&
    typeof sessionId === 'string' &&
    Number.isSafeInteger(seqNum) &&
    Number.isSafeInteger(parentSeqNum)
  const args = message[ARGS_UNDEFINED] === true ? undefined : message['args']
  return valid ? ({ name, args, seqNum, parentSeqNum, clientId, sessionId } as Event) : undefined
}

/**
 * Whether the log's event is the one we sent: by what it says, since a server may write its JSON anew. The client and
 * session in it tell whose it is.
 */
export const sameEvent = (logged: Event | undefined, sent: Event): boolean =>
  logged !== undefined && sameJson(logged, decodeEvent(JSON.parse(encodeEvent(sent))))

const sameJson = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (!isRecord(a) || !isRecord(b) || Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
