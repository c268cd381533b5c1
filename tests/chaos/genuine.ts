// Tells the Worker's own answers from those of others, as a client must that follows docs/http-api.md. Pure.
// It shares no code with the provider, on purpose: the chaos tests check the provider's rules with it.
import type { ChaosEvent } from './history.ts'

export type Message = ChaosEvent | { livestore: { backendId: string } }

export interface Problem {
  _tag: string
  minimumExpectedNum?: number
}

interface Answered {
  readonly status: number
  readonly redirected: boolean
  readonly headers: { get(name: string): string | null }
}

/** The batch from `first` to `last` is in the log of this backend. */
export function isAcknowledgement(
  { status, redirected, headers }: Answered,
  { first, last, backendId }: { first: number; last: number; backendId: string | undefined },
): boolean {
  const answering = headers.get('livestore-backend-id')
  return (
    status === 200 &&
    !redirected &&
    headers.get('livestore-accepted') === `${first}-${last}` &&
    answering !== null &&
    answering === (backendId ?? answering) &&
    Number(headers.get('livestore-head')) >= last
  )
}

/**
 * The Worker's problem. It is undefined for somebody else's answer, and for the answer to another request: a redirect can make a
 * POST a GET.
 */
export function problemOf({ redirected, headers }: Answered, body: string): Problem | undefined {
  if (redirected || !headers.get('content-type')?.startsWith('application/problem+json')) return undefined
  const problem = parsed(body)
  return isRecord(problem) && typeof problem['type'] === 'string' && problem['type'].startsWith('urn:headwater:')
    ? (problem as unknown as Problem)
    : undefined
}

/** The answer can be the Worker's to a read: a page, or a stream of events. */
export const isRead = ({ status, headers }: Answered): boolean =>
  status === 200 && headers.get('livestore-head') !== null

/** The messages of a page; undefined for a body that is no page. */
export function messagesOf(body: string): readonly Message[] | undefined {
  const messages = parsed(body)
  return Array.isArray(messages) && messages.every(isMessage) ? messages : undefined
}

function isMessage(message: unknown): message is Message {
  if (!isRecord(message)) return false
  if (isRecord(message['livestore'])) return typeof message['livestore']['backendId'] === 'string'
  return (
    Number.isSafeInteger(message['seqNum']) &&
    Number.isSafeInteger(message['parentSeqNum']) &&
    isRecord(message['args'])
  )
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
