import { Duration, Effect } from 'effect'

import { type HttpFailure, responseError, TransportError } from './errors.ts'
import type { HeadersInput } from './options.ts'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

export interface Transport {
  /** `fetch` with the headers and token meant for this server; what it rejects with is the caller's to read. */
  readonly fetch: typeof globalThis.fetch
  /** One whole exchange within a time-out, aborted when interrupted. Fails only without an answer. */
  readonly exchange: (url: string, init: RequestInit, timeoutMs: number) => Effect.Effect<Answer, TransportError>
  /** The same, where an answer that says no is a failure too. */
  readonly request: (url: string, init: RequestInit, timeoutMs: number) => Effect.Effect<Answer, HttpFailure>
  /** Whether another try may carry another token. */
  readonly headersAreDynamic: boolean
}

export const makeTransport = (options: {
  readonly fetch: typeof globalThis.fetch | undefined
  readonly headers: HeadersInput | undefined
  readonly authToken: string | undefined
}): Transport => {
  const { headers, authToken } = options

  const fetchWithHeaders: typeof globalThis.fetch = async (input, init) => {
    const merged = new Headers(typeof headers === 'function' ? await headers() : headers)
    if (authToken !== undefined && !merged.has('authorization')) merged.set('authorization', `Bearer ${authToken}`)
    new Headers(init?.headers).forEach((value, name) => merged.set(name, value))
    // Looked up at each call, so that instrumentation installed later is honoured.
    return (options.fetch ?? globalThis.fetch)(input, { ...init, headers: merged })
  }

  const exchange: Transport['exchange'] = (url, init, timeoutMs) =>
    attempt(init.method ?? 'GET', timeoutMs, async (signal) => {
      const response = await fetchWithHeaders(url, { ...init, signal })
      return { status: response.status, headers: response.headers, body: await response.text() }
    })

  const request: Transport['request'] = (url, init, timeoutMs) =>
    Effect.flatMap(exchange(url, init, timeoutMs), (answer) => (isOk(answer) ? Effect.succeed(answer) : refusal(answer)))

  return { fetch: fetchWithHeaders, exchange, request, headersAreDynamic: typeof headers === 'function' }
}

/** What a promise does within a time-out; its signal is aborted when that is over, or when nobody wants it any more. */
export const attempt = <A>(
  what: string,
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<A>,
): Effect.Effect<A, TransportError> =>
  Effect.tryPromise({
    try: work,
    catch: (cause) => new TransportError(`${what} failed: ${String(cause)}`, { cause }),
  }).pipe(
    Effect.timeoutFail({
      duration: Duration.millis(timeoutMs),
      onTimeout: () => new TransportError(`${what} not answered within ${timeoutMs} ms`, { timedOut: true }),
    }),
  )

export const isOk = ({ status }: { readonly status: number }): boolean => status >= 200 && status < 300

export const refusal = ({ status, headers, body }: Answer): Effect.Effect<never, HttpFailure> =>
  Effect.fail(responseError(status, body, headers.get('retry-after')))

/** LiveStore's habit: the app's sync payload carries the token as `authToken`. */
export const authTokenOf = (payload: unknown): string | undefined => {
  if (typeof payload !== 'object' || payload === null || !('authToken' in payload)) return undefined
  return typeof payload.authToken === 'string' && payload.authToken !== '' ? payload.authToken : undefined
}
