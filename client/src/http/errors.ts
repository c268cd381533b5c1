/** The failures of a request, and the errors that LiveStore receives for them. */
import { BackendIdMismatchError, IsOfflineError, ServerAheadError, UnknownError } from '@livestore/common'
import { EventSequenceNumber } from '@livestore/common/schema'

/** No answer: the request never arrived, timed out, or its answer broke off. */
export class TransportError extends Error {
  readonly _tag = 'TransportError'
  readonly timedOut: boolean
  constructor(message: string, options: { readonly cause?: unknown; readonly timedOut?: boolean } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.timedOut = options.timedOut ?? false
  }
}

/**
 * An answer of somebody else: a captive portal, a sign-in page, a redirect, a bot challenge, a cache. It says nothing about
 * the store, so it counts as no answer. authenticity.ts tells it from a genuine one.
 */
export class ForeignAnswer extends Error {
  readonly _tag = 'ForeignAnswer'
  readonly url: string
  readonly status: number
  readonly retryAfterMs: number
  constructor(url: string, status: number, why: string, retryAfterMs = 0) {
    super(`HTTP ${status} from ${withoutQuery(url)} is not the server's own answer: ${why}`)
    this.url = withoutQuery(url)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

/** A refusal by the server itself. */
export class ResponseError extends Error {
  readonly _tag = 'ResponseError'
  readonly url: string
  readonly status: number
  readonly problem: ProblemDetails
  readonly retryAfterMs: number
  constructor(url: string, status: number, problem: ProblemDetails, retryAfterMs: number) {
    super(`HTTP ${status} from ${withoutQuery(url)}: ${describe(problem)}`)
    this.url = withoutQuery(url)
    this.status = status
    this.problem = problem
    this.retryAfterMs = retryAfterMs
  }
}

export type HttpFailure = TransportError | ForeignAnswer | ResponseError

export const isHttpFailure = (error: unknown): error is HttpFailure =>
  error instanceof TransportError || error instanceof ForeignAnswer || error instanceof ResponseError

/** RFC 9457, with LiveStore's `_tag` and the fields of that error (docs/http-api.md). */
export type ProblemDetails = Readonly<Record<string, unknown>>

/** The answer has no offset. A browser hides headers that the server's CORS does not expose. */
export const noOffset = (url: string, status: number): ResponseError => {
  const detail =
    'the answer shows no Stream-Next-Offset. Check that the URL is that of a Durable Streams server, and that its CORS exposes this header'
  return new ResponseError(url, status, { title: 'No offset', detail }, 0)
}

export const retryAfterMs = (failure: HttpFailure): number =>
  failure._tag === 'TransportError' ? 0 : failure.retryAfterMs

/**
 * The same request may succeed later without anybody's doing. Every server error can pass, 500 and Cloudflare's 52x
 * included, and so can 408, 425 and 429 (RFC 9110 15.5.9, RFC 8470). The answer of somebody else says nothing.
 */
export const isTransient = (failure: HttpFailure): boolean =>
  failure._tag !== 'ResponseError' || failure.status >= 500 || [408, 425, 429].includes(failure.status)

/** The server refuses this client's token or rights. */
export const isDenied = (failure: HttpFailure): boolean =>
  failure._tag === 'ResponseError' && (failure.status === 401 || failure.status === 403)

export type SyncError = IsOfflineError | UnknownError | ServerAheadError | BackendIdMismatchError

/** LiveStore repeats after `IsOfflineError`. An `UnknownError` of a pull stops its sync (LeaderSyncProcessor.ts, `maybeShutdownOnError`). */
export const toSyncError = (failure: HttpFailure): IsOfflineError | UnknownError =>
  isTransient(failure) ? new IsOfflineError({ cause: failure }) : toUnknownError(failure)

export const toPushError = (failure: HttpFailure): SyncError => {
  if (failure._tag === 'ResponseError' && failure.status === 409) {
    const { _tag, minimumExpectedNum, providedNum, expected, received } = failure.problem
    if (_tag === 'ServerAheadError' && isSeqNum(minimumExpectedNum) && isSeqNum(providedNum)) {
      return serverAhead(minimumExpectedNum, providedNum)
    }
    if (_tag === 'BackendIdMismatchError' && typeof expected === 'string' && typeof received === 'string') {
      return new BackendIdMismatchError({ expected, received })
    }
  }
  return toSyncError(failure)
}

export const serverAhead = (minimumExpectedNum: number, providedNum: number): ServerAheadError =>
  new ServerAheadError({
    minimumExpectedNum: EventSequenceNumber.Global.make(minimumExpectedNum),
    providedNum: EventSequenceNumber.Global.make(providedNum),
  })

export const toUnknownError = (failure: HttpFailure): UnknownError =>
  failure._tag === 'ResponseError'
    ? new UnknownError({
        cause: failure,
        note: `${failure.message}${ADVICE[failure.status] ?? ''}`,
        payload: { status: failure.status, ...failure.problem },
      })
    : new UnknownError({ cause: failure, note: failure.message })

/** An error that time does not mend. */
export const unknownError = (note: string, payload?: unknown): UnknownError =>
  new UnknownError({ cause: new Error(note), note, ...(payload === undefined ? {} : { payload }) })

const ADVICE: Readonly<Record<number, string>> = {
  401: ' (the app must send a token that this server accepts. If `headers` is a function, the provider has already asked it for a fresh token)',
  403: ' (the token that the app sends does not allow this. Use another token, tenant or store)',
}

const isSeqNum = (value: unknown): value is number => Number.isSafeInteger(value)

const withoutQuery = (url: string): string => url.replace(/\?.*/, '')

const describe = (problem: ProblemDetails): string => {
  const where = ['index', 'field', 'reason'].flatMap((key) =>
    key in problem ? [`${key} ${String(problem[key])}`] : [],
  )
  const text = [problem['title'], problem['detail']].filter((part) => typeof part === 'string').join(': ')
  const kind = typeof problem['type'] === 'string' ? problem['type'].replace(/.*:/, '') : 'no detail given'
  return `${text === '' ? kind : text}${where.length === 0 ? '' : ` (${where.join(', ')})`}`
}
