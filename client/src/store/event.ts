/**
 * Events on the wire hold LiveStore's own fields and nothing else. An additional field would make the returning event differ
 * from the one that was sent (LiveStoreEvent's `isEqualEncoded`).
 */
import type { LiveStoreEvent } from '@livestore/common/schema'

type Event = LiveStoreEvent.Global.Encoded

/**
 * An event of a schema without arguments (`Schema.Void`) has `args: undefined`, which JSON can't express. It travels as
 * `null` with this mark beside it.
 */
const ARGS_UNDEFINED = 'argsUndefined'

export const encodeEvent = ({ name, args, seqNum, parentSeqNum, clientId, sessionId }: Event): string =>
  args === undefined
    ? JSON.stringify({ name, args: null, seqNum, parentSeqNum, clientId, sessionId, [ARGS_UNDEFINED]: true })
    : JSON.stringify({ name, args, seqNum, parentSeqNum, clientId, sessionId })

/** Written by hand rather than with Schema, because it runs for every event ever pulled. */
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
 * Whether the log's event is the one that this client sent. It compares values, because a server may rewrite the JSON. The
 * client id and session id in them identify the writer.
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
