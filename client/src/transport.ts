import { Duration, Effect } from 'effect'

import { type HttpFailure, responseError, TransportError } from './errors.ts'
import type { HeadersFunction, HeadersInput } from './options.ts'

export interface Answer {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

export interface Transport {
  /**
   * `fetch` with the headers and token meant for this server, repeated once with fresh ones if it answers 401 and there
   * are any: a 401 that comes back is meant. What it rejects with is the caller's to read.
   */
  readonly fetch: typeof globalThis.fetch
  /** One whole exchange within a time-out, aborted when interrupted. Fails only without an answer. */
  readonly exchange: (url: string, init: RequestInit, timeoutMs: number) => Effect.Effect<Answer, TransportError>
  /** The same for an answer that may be long: it may take its time, as long as something of it comes. */
  readonly download: (url: string, init: RequestInit, stallTimeoutMs: number) => Effect.Effect<Answer, TransportError>
  /** As `exchange`, where an answer that says no is a failure too. */
  readonly request: (url: string, init: RequestInit, timeoutMs: number) => Effect.Effect<Answer, HttpFailure>
}

export const makeTransport = (options: {
  readonly fetch: typeof globalThis.fetch | undefined
  readonly headers: HeadersInput | undefined
  readonly authToken: string | undefined
}): Transport => {
  const { headers, authToken } = options

  const send = (own: Headers | Readonly<Record<string, string>> | undefined, ...[input, init]: Parameters<typeof globalThis.fetch>) => {
    const merged = new Headers(own)
    if (authToken !== undefined && !merged.has('authorization')) merged.set('authorization', `Bearer ${authToken}`)
    new Headers(init?.headers).forEach((value, name) => merged.set(name, value))
    // Looked up at each call, so that instrumentation installed later is honoured.
    return (options.fetch ?? globalThis.fetch)(input, { ...init, headers: merged })
  }

  const fetchWithHeaders: typeof globalThis.fetch =
    typeof headers === 'function' ? renewing(headers, send) : async (...request) => send(headers, ...request)

  const exchange: Transport['exchange'] = (url, init, timeoutMs) =>
    attempt(init.method ?? 'GET', timeoutMs, async (signal) => {
      const response = await fetchWithHeaders(url, { ...init, signal })
      return { url, status: response.status, headers: response.headers, body: await response.text() }
    })

  const download: Transport['download'] = (url, init, stallTimeoutMs) =>
    attempt(init.method ?? 'GET', stallTimeoutMs, async (signal, goesOn) => {
      const response = await fetchWithHeaders(url, { ...init, signal })
      return { url, status: response.status, headers: response.headers, body: await readText(response, goesOn) }
    })

  const request: Transport['request'] = (url, init, timeoutMs) =>
    Effect.flatMap(exchange(url, init, timeoutMs), (answer) => (isOk(answer) ? Effect.succeed(answer) : refusal(answer)))

  return { fetch: fetchWithHeaders, exchange, download, request }
}

/** Requests that are refused at the same time share what is then given: some issuers take two renewals at once for theft. */
const renewing = (
  headers: HeadersFunction,
  send: (own: Headers, ...request: Parameters<typeof globalThis.fetch>) => Promise<Response>,
): typeof globalThis.fetch => {
  let renewals = 0
  let renewed: Promise<Headers>

  const ask = async (refused: boolean) => {
    try {
      return new Headers(await headers({ refused }))
    } catch (cause) {
      throw new TransportError(`the function for headers failed: ${String(cause)}`, { cause })
    }
  }

  return async (...request) => {
    const before = renewals
    const response = await send(await ask(false), ...request)
    if (response.status !== 401) return response
    void response.body?.cancel().catch(() => {})
    if (renewals === before) {
      renewals++
      renewed = ask(true)
    }
    return send(await renewed, ...request)
  }
}

/**
 * What a promise does within a time-out, or within more of them, as long as each sees it go on; its signal is aborted when
 * that is over, or when nobody wants it any more.
 */
export const attempt = <A>(
  what: string,
  timeoutMs: number,
  work: (signal: AbortSignal, goesOn: () => void) => Promise<A>,
): Effect.Effect<A, TransportError> =>
  Effect.suspend(() => {
    let stalled = true
    const goesOn = () => {
      stalled = false
    }
    const wasStalled = () => {
      const was = stalled
      stalled = true
      return was
    }
    const answer = Effect.tryPromise({
      try: (signal) => work(signal, goesOn),
      catch: (cause) => (cause instanceof TransportError ? cause : new TransportError(`${what} failed: ${String(cause)}`, { cause })),
    })
    const timeout = Effect.sleep(Duration.millis(timeoutMs)).pipe(
      Effect.repeat({ until: wasStalled }),
      Effect.zipRight(Effect.fail(new TransportError(`${what} not answered within ${timeoutMs} ms`, { timedOut: true }))),
    )
    return Effect.raceFirst(answer, timeout)
  })

const readText = async ({ body }: Response, onBytes: () => void): Promise<string> => {
  if (body === null) return ''
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const parts: Array<string> = []
  for (;;) {
    const { done, value } = await reader.read()
    onBytes()
    parts.push(decoder.decode(value, { stream: !done }))
    if (done) return parts.join('')
  }
}

export const isOk = ({ status }: { readonly status: number }): boolean => status >= 200 && status < 300

export const refusal = ({ url, status, headers, body }: Answer): Effect.Effect<never, HttpFailure> =>
  Effect.fail(responseError(url, status, body, headers.get('retry-after')))

/** LiveStore's habit: the app's sync payload carries the token as `authToken`. */
export const authTokenOf = (payload: unknown): string | undefined => {
  if (typeof payload !== 'object' || payload === null || !('authToken' in payload)) return undefined
  return typeof payload.authToken === 'string' && payload.authToken !== '' ? payload.authToken : undefined
}
