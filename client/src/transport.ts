import { Duration, Effect } from 'effect'

import { type HttpFailure, responseError, TransportError } from './errors.ts'
import type { HeadersInput } from './options.ts'

export interface Transport {
  /** `fetch` with the app's headers and token; what it rejects with is the caller's to read. */
  readonly fetch: typeof globalThis.fetch
  /** One whole exchange within a time-out, aborted when interrupted. */
  readonly request: (
    url: string,
    init: RequestInit,
    timeoutMs: number,
  ) => Effect.Effect<{ readonly headers: Headers; readonly body: string }, HttpFailure>
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

  const request: Transport['request'] = (url, init, timeoutMs) =>
    Effect.tryPromise({
      try: async (signal) => {
        const response = await fetchWithHeaders(url, { ...init, signal })
        return { status: response.status, ok: response.ok, headers: response.headers, body: await response.text() }
      },
      catch: (cause): HttpFailure => new TransportError(`${init.method ?? 'GET'} failed: ${String(cause)}`, { cause }),
    }).pipe(
      Effect.timeoutFail({
        duration: Duration.millis(timeoutMs),
        onTimeout: (): HttpFailure =>
          new TransportError(`${init.method ?? 'GET'} not answered within ${timeoutMs} ms`, { timedOut: true }),
      }),
      Effect.flatMap(({ status, ok, headers, body }) =>
        ok ? Effect.succeed({ headers, body }) : Effect.fail(responseError(status, body, headers.get('retry-after'))),
      ),
    )

  return { fetch: fetchWithHeaders, request, headersAreDynamic: typeof headers === 'function' }
}

/** LiveStore's habit: the app's sync payload carries the token as `authToken`. */
export const authTokenOf = (payload: unknown): string | undefined => {
  if (typeof payload !== 'object' || payload === null || !('authToken' in payload)) return undefined
  return typeof payload.authToken === 'string' && payload.authToken !== '' ? payload.authToken : undefined
}
