import { BackendIdMismatchError, IsOfflineError, ServerAheadError, UnknownError } from '@livestore/common'
import { EventSequenceNumber } from '@livestore/common/schema'

/** No usable answer: the request never arrived, timed out, or its answer broke off. */
export class TransportError extends Error {
  readonly _tag = 'TransportError'
  readonly timedOut: boolean
  constructor(message: string, options: { readonly cause?: unknown; readonly timedOut?: boolean } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.timedOut = options.timedOut ?? false
  }
}

/** An answer that says no. */
export class ResponseError extends Error {
  readonly _tag = 'ResponseError'
  readonly status: number
  readonly problem: Problem
  readonly retryAfterMs: number
  constructor(url: string, status: number, problem: Problem, retryAfterMs: number) {
    super(`HTTP ${status} from ${url.replace(/\?.*/, '')}: ${describe(problem)}`)
    this.status = status
    this.problem = problem
    this.retryAfterMs = retryAfterMs
  }
}

export type HttpFailure = TransportError | ResponseError

/** Of an answer that brought a log. A browser hides what the server's CORS does not expose. */
export const noOffset = (url: string, status: number): ResponseError => {
  const detail = 'the answer shows no Stream-Next-Offset; is this a Durable Streams server, and does its CORS expose that header?'
  return new ResponseError(url, status, { title: 'No offset', detail }, 0)
}

/** RFC 9457 with LiveStore's `_tag` and its fields beside (docs/wire.md). */
export type Problem = Readonly<Record<string, unknown>>

export const responseError = (url: string, status: number, body: string, retryAfter: string | null): ResponseError =>
  new ResponseError(url, status, parseProblem(body), parseRetryAfter(retryAfter))

export const retryAfterMs = (failure: HttpFailure): number =>
  failure._tag === 'ResponseError' ? failure.retryAfterMs : 0

/** What passes with time: 429, 502–504, and the two other statuses that ask for the same request again (RFC 9110 15.5.9, RFC 8470). */
export const isOffline = (failure: HttpFailure): boolean =>
  failure._tag === 'TransportError' || OFFLINE_STATUSES.has(failure.status)

const OFFLINE_STATUSES = new Set([408, 425, 429, 502, 503, 504])

/**
 * What a pull rides out. A pull that fails with `UnknownError` stops LiveStore's sync for good
 * (LeaderSyncProcessor.ts, `maybeShutdownOnError`), and no server error is for good: 500 and Cloudflare's 52x pass.
 */
export const isTransient = (failure: HttpFailure): boolean =>
  isOffline(failure) || (failure._tag === 'ResponseError' && failure.status >= 500)

export const toSyncError = (failure: HttpFailure): IsOfflineError | UnknownError =>
  isOffline(failure) ? new IsOfflineError({ cause: failure }) : toUnknownError(failure)

export const toPushError = (
  failure: HttpFailure,
): IsOfflineError | UnknownError | ServerAheadError | BackendIdMismatchError => {
  if (failure._tag === 'ResponseError' && failure.status === 409) {
    const { _tag, minimumExpectedNum, providedNum, expected, received } = failure.problem
    if (_tag === 'ServerAheadError' && isSeqNum(minimumExpectedNum) && isSeqNum(providedNum)) {
      return new ServerAheadError({
        minimumExpectedNum: EventSequenceNumber.Global.make(minimumExpectedNum),
        providedNum: EventSequenceNumber.Global.make(providedNum),
      })
    }
    if (_tag === 'BackendIdMismatchError' && typeof expected === 'string' && typeof received === 'string') {
      return new BackendIdMismatchError({ expected, received })
    }
  }
  return toSyncError(failure)
}

/** The server does not let this client do that. */
export const isDenied = (failure: HttpFailure): boolean =>
  failure._tag === 'ResponseError' && (failure.status === 401 || failure.status === 403)

export const toUnknownError = (failure: HttpFailure): UnknownError =>
  failure._tag === 'ResponseError'
    ? new UnknownError({
        cause: failure,
        note: `${failure.message}${ADVICE[failure.status] ?? ''}`,
        payload: { status: failure.status, ...failure.problem },
      })
    : new UnknownError({ cause: failure, note: failure.message })

const ADVICE: Readonly<Record<number, string>> = {
  401: ' (the app must send this server a token that it takes; a function for `headers` was asked for a fresh one first)',
  403: ' (what the app sends this server does not allow this: it takes another token, tenant or store)',
}

const isSeqNum = (value: unknown): value is number => Number.isSafeInteger(value)

const describe = (problem: Problem): string => {
  const where = ['index', 'field', 'reason'].flatMap((key) => (key in problem ? [`${key} ${String(problem[key])}`] : []))
  const text = [problem['title'], problem['detail']].filter((part) => typeof part === 'string').join(': ')
  return `${text === '' ? 'no detail given' : text}${where.length === 0 ? '' : ` (${where.join(', ')})`}`
}

const parseProblem = (body: string): Problem => {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Problem
  } catch {
    // Not ours: a proxy's or a captive portal's page.
  }
  return body === '' ? {} : { detail: body.slice(0, 500) }
}

const MAX_RETRY_AFTER_MS = 5 * 60_000

/** RFC 9110 10.2.3: seconds or a date. */
const parseRetryAfter = (value: string | null): number => {
  if (value === null) return 0
  const seconds = Number(value)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : 0
}
