/**
 * Whose answer is it? Captive portals, sign-in pages, firewalls and caches stand between a client and its server, and any
 * of them can answer in its place. An answer counts only if it carries what the server alone puts there. Everything else
 * is a `ForeignAnswer`: no answer, to be waited out.
 */
import { HEAD_HEADER, PROBLEM_HEADER, problemKind, problemType } from '../protocol/index.js'
import { ForeignAnswer, type HttpFailure, type ProblemDetails, ResponseError } from './errors.ts'

/** Who is asked: the Worker, which signs its answers, or the log's own server, which speaks the bare protocol. */
export type Party = 'worker' | 'log'

/** The head of an answer. */
export interface AnswerHead {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly redirected: boolean
}

/** Redirects are not followed: most make a GET of a POST, and a token would go to whoever they name. */
export const NO_REDIRECT = { redirect: 'manual' } as const

export const headOf = (url: string, { status, headers, redirected, type }: Response): AnswerHead => ({
  url,
  status,
  headers,
  // A browser hides what a redirect says.
  redirected: redirected === true || type === 'opaqueredirect',
})

/** The failure that an answer is, unless it is a success of this party. It reads `body` of refusals only. */
export const failureOf = async (party: Party, answer: AnswerHead, body: () => Promise<string>): Promise<HttpFailure | undefined> => {
  if (isSuccess(answer)) return undefined
  const retryAfter = retryAfterOf(answer.headers)
  // A stranger knows nothing of the store, and can't say for how long it is away.
  const stranger = (why: string) => new ForeignAnswer(answer.url, answer.status, why, Math.min(retryAfter, MAX_FOREIGN_RETRY_AFTER_MS))
  if (isRedirect(answer)) return stranger(describeRedirect(answer))
  // A page is not worth its bytes, of which there may be no end.
  const problem = { ...typeInHeader(answer.headers), ...(isHtml(answer.headers) ? {} : parseProblem(await body())) }
  const own = party === 'worker' ? isWorkersProblem(answer.headers, problem) : !isHtml(answer.headers)
  return own ? new ResponseError(answer.url, answer.status, problem, retryAfter) : stranger(describeRefusal(party, answer))
}

/** The backend's head, where the Worker vouches for its answer. */
export const vouchedHead = ({ headers }: AnswerHead): number | undefined => {
  const head = headers.get(HEAD_HEADER)
  return head !== null && /^\d+$/.test(head) && Number.isSafeInteger(Number(head)) ? Number(head) : undefined
}

/** An answer that says something of a store but was not signed by the Worker. */
export const unvouched = (answer: AnswerHead): ForeignAnswer =>
  new ForeignAnswer(answer.url, answer.status, `it has no ${HEAD_HEADER} header, as every answer of the Worker has`)

export const isSuccess = ({ status, redirected }: Pick<AnswerHead, 'status' | 'redirected'>): boolean =>
  status >= 200 && status < 300 && !redirected

const isRedirect = ({ status, redirected }: AnswerHead): boolean => redirected || (status >= 300 && status < 400)

const describeRedirect = ({ headers }: AnswerHead): string => {
  const to = headers.get('location')
  return `it is a redirect${to === null ? '' : ` to ${to}`}, and redirects are not followed; give the provider the address that answers itself`
}

const describeRefusal = (party: Party, { headers }: AnswerHead): string =>
  `its type is ${headers.get('content-type') ?? 'unknown'}${party === 'worker' ? ', and it is no problem+json of Headwater' : ''}`

const isWorkersProblem = (headers: Headers, { type }: ProblemDetails): boolean =>
  /^application\/problem\+json\b/i.test(headers.get('content-type') ?? '') &&
  problemKind(type) !== undefined

/** An answer to `HEAD` has no body to say it. */
const typeInHeader = (headers: Headers): ProblemDetails => {
  const [, kind, reason] = /^([a-z-]+)(?:; reason=([a-z-]+))?$/.exec(headers.get(PROBLEM_HEADER) ?? '') ?? []
  return kind === undefined ? {} : { type: problemType(kind), ...(reason === undefined ? {} : { reason }) }
}

/** The protocol says nothing of the body of a refusal, but none of its servers answers with a page. */
const isHtml = (headers: Headers): boolean => /^text\/html\b/i.test(headers.get('content-type') ?? '')

export const isJson = (headers: Headers): boolean => /^application\/json\b/i.test(headers.get('content-type') ?? '')
export const isEventStream = (headers: Headers): boolean => /^text\/event-stream\b/i.test(headers.get('content-type') ?? '')

const parseProblem = (body: string): ProblemDetails => {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as ProblemDetails
  } catch {
    // A page.
  }
  return body === '' ? {} : { detail: body.slice(0, 500) }
}

const MAX_RETRY_AFTER_MS = 5 * 60_000
const MAX_FOREIGN_RETRY_AFTER_MS = 10_000

/** RFC 9110 10.2.3: seconds or a date. */
const retryAfterOf = (headers: Headers): number => {
  const value = headers.get('retry-after')
  if (value === null) return 0
  const seconds = Number(value)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : 0
}
