/**
 * The authenticity of answers. Captive portals, sign-in pages, firewalls and caches stand between a client and its server,
 * and any of them can answer in its place. An answer counts only if it carries what the server alone puts there. Everything
 * else is a `ForeignAnswer`: it counts as no answer, and the provider tries again.
 */
import { HEAD_HEADER, PROBLEM_HEADER, problemKind, problemType } from '../protocol/index.js'
import { ForeignAnswer, type HttpFailure, type ProblemDetails, ResponseError } from './errors.ts'

/** The server that a request goes to: the Worker, which marks its answers, or the log's own server, which speaks the plain protocol. */
export type Party = 'worker' | 'log'

export interface AnswerHead {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly redirected: boolean
}

/** The provider follows no redirect: most turn a POST into a GET, and the token would go to another host. */
export const NO_REDIRECT = { redirect: 'manual' } as const

export const headOf = (url: string, { status, headers, redirected, type }: Response): AnswerHead => ({
  url,
  status,
  headers,
  // A browser hides a redirect's status and headers.
  redirected: redirected === true || type === 'opaqueredirect',
})

/** Returns the failure, unless the answer is a success of this party. It reads `body` only for refusals. */
export const failureOf = async (
  party: Party,
  answer: AnswerHead,
  body: () => Promise<string>,
): Promise<HttpFailure | undefined> => {
  if (isSuccess(answer)) return undefined
  const retryAfterMs = retryAfterMsOf(answer.headers)
  // A stranger knows nothing of the store. Therefore its `Retry-After` is bounded.
  const stranger = (why: string) =>
    new ForeignAnswer(answer.url, answer.status, why, Math.min(retryAfterMs, MAX_FOREIGN_RETRY_AFTER_MS))
  if (isRedirect(answer)) return stranger(describeRedirect(answer))
  // An HTML page may have no end, and says nothing.
  const problem = { ...typeInHeader(answer.headers), ...(isHtml(answer.headers) ? {} : parseProblem(await body())) }
  const own = party === 'worker' ? isWorkersProblem(answer.headers, problem) : !isHtml(answer.headers)
  return own
    ? new ResponseError(answer.url, answer.status, problem, retryAfterMs)
    : stranger(describeRefusal(party, answer))
}

/** The backend's head. Every answer of the Worker has it, so it also shows that the answer is the Worker's. */
export const vouchedHead = ({ headers }: AnswerHead): number | undefined => {
  const head = headers.get(HEAD_HEADER)
  return head !== null && /^\d+$/.test(head) && Number.isSafeInteger(Number(head)) ? Number(head) : undefined
}

/** The failure for an answer without the Worker's head: the problem that the Worker names beside the log of a halted store, or a stranger's answer. */
export const unvouched = ({ url, status, headers }: AnswerHead): ResponseError | ForeignAnswer =>
  headers.has(PROBLEM_HEADER)
    ? new ResponseError(url, 503, typeInHeader(headers), retryAfterMsOf(headers))
    : new ForeignAnswer(url, status, `it lacks the ${HEAD_HEADER} header, which every answer of the Worker has`)

export const isSuccess = ({ status, redirected }: Pick<AnswerHead, 'status' | 'redirected'>): boolean =>
  status >= 200 && status < 300 && !redirected

const isRedirect = ({ status, redirected }: AnswerHead): boolean => redirected || (status >= 300 && status < 400)

const describeRedirect = ({ headers }: AnswerHead): string => {
  const to = headers.get('location')
  return `it is a redirect${to === null ? '' : ` to ${to}`}, which the provider does not follow. Give the provider the final address`
}

const describeRefusal = (party: Party, { headers }: AnswerHead): string =>
  `its type is ${headers.get('content-type') ?? 'unknown'}${party === 'worker' ? ', and it is not a problem+json of Headwater' : ''}`

const isWorkersProblem = (headers: Headers, { type }: ProblemDetails): boolean =>
  /^application\/problem\+json\b/i.test(headers.get('content-type') ?? '') && problemKind(type) !== undefined

/** An answer to `HEAD` has no body. The header has the problem's kind and reason. */
const typeInHeader = (headers: Headers): ProblemDetails => {
  const [, kind, reason] = /^([a-z-]+)(?:; reason=([a-z-]+))?$/.exec(headers.get(PROBLEM_HEADER) ?? '') ?? []
  return kind === undefined ? {} : { type: problemType(kind), ...(reason === undefined ? {} : { reason }) }
}

/** The protocol leaves the body of a refusal open, but none of its servers sends HTML. */
const isHtml = (headers: Headers): boolean => /^text\/html\b/i.test(headers.get('content-type') ?? '')

export const isJson = (headers: Headers): boolean => /^application\/json\b/i.test(headers.get('content-type') ?? '')
export const isEventStream = (headers: Headers): boolean =>
  /^text\/event-stream\b/i.test(headers.get('content-type') ?? '')

const parseProblem = (body: string): ProblemDetails => {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as ProblemDetails
  } catch {
    // Not JSON. The caller gets the text as `detail`.
  }
  return body === '' ? {} : { detail: body.slice(0, 500) }
}

const MAX_RETRY_AFTER_MS = 5 * 60_000
const MAX_FOREIGN_RETRY_AFTER_MS = 10_000

/** RFC 9110 10.2.3: seconds or a date. */
const retryAfterMsOf = (headers: Headers): number => {
  const value = headers.get('retry-after')
  if (value === null) return 0
  const seconds = Number(value)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : 0
}
