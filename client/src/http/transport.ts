/** One request: its headers, the renewal of tokens, and its timeouts. An abort signal ends each promise. */
import { type AnswerHead, failureOf, headOf, NO_REDIRECT, type Party } from './authenticity.ts'
import { type HttpFailure, isHttpFailure, TransportError } from './errors.ts'

/** Headers sent with every request. */
export type HeadersInput = Readonly<Record<string, string>> | HeadersFunction

/**
 * The provider calls it for each request, so that it can return fresh tokens. `refused` is true when the server has just
 * answered 401 to the last headers: a cached token won't do. The provider tries the new headers once. While the function
 * throws, the client is offline.
 *
 * @example
 * ```ts
 * async ({ refused }) => ({ authorization: `Bearer ${await getToken({ skipCache: refused })}` })
 * ```
 */
export type HeadersFunction = (asked: {
  readonly refused: boolean
}) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>

export interface Answer extends AnswerHead {
  readonly body: string
}

export interface Transport {
  readonly party: Party
  /**
   * `fetch` with the headers and the token for this server. After a 401 it repeats the request once with fresh headers, if
   * the app gave a function for them. A 401 that comes back is final. It follows no redirect.
   */
  readonly fetch: typeof globalThis.fetch
  /** The headers that each request carries: the app's own, and the token. */
  readonly headers: () => Promise<Headers>
  /** One whole exchange within a timeout. Rejects with an `HttpFailure` unless this party answers with success. */
  readonly request: (url: string, init: RequestInit, limits: RequestLimits) => Promise<Answer>
}

export interface RequestLimits {
  /** Bounds the whole exchange. With `stalls` it bounds only each silence, for an answer that may be long. */
  readonly timeoutMs: number
  readonly stalls?: boolean
  readonly signal?: AbortSignal | undefined
}

export const makeTransport = (options: {
  readonly party: Party
  readonly fetch: typeof globalThis.fetch | undefined
  readonly headers: HeadersInput | undefined
  readonly authToken: string | undefined
}): Transport => {
  const { party, headers, authToken } = options

  const withToken = (own: Headers | Readonly<Record<string, string>> | undefined): Headers => {
    const merged = new Headers(own)
    if (authToken !== undefined && !merged.has('authorization')) merged.set('authorization', `Bearer ${authToken}`)
    return merged
  }

  const send = (
    own: Headers | Readonly<Record<string, string>> | undefined,
    ...[input, init]: Parameters<typeof globalThis.fetch>
  ) => {
    const merged = withToken(own)
    new Headers(init?.headers).forEach((value, name) => merged.set(name, value))
    // Looked up for each request, so that instrumentation installed later takes effect.
    return (options.fetch ?? globalThis.fetch)(input, { ...init, ...NO_REDIRECT, headers: merged })
  }

  const fetchWithHeaders: typeof globalThis.fetch =
    typeof headers === 'function' ? renewing(headers, send) : async (...request) => send(headers, ...request)

  const request: Transport['request'] = (url, init, { timeoutMs, stalls = false, signal: outer }) =>
    attempt(`${init.method ?? 'GET'}`, timeoutMs, outer, async (signal, goesOn) => {
      const response = await fetchWithHeaders(url, { ...init, signal })
      const head = headOf(url, response)
      const read = () => readText(response, stalls ? goesOn : () => {})
      const failure = await failureOf(party, head, read)
      if (failure !== undefined) throw failure
      return { ...head, body: await read() }
    })

  const currentHeaders = async () =>
    withToken(typeof headers === 'function' ? await headers({ refused: false }) : headers)

  return { party, fetch: fetchWithHeaders, headers: currentHeaders, request }
}

/** Requests that are refused at the same time share the fresh headers: some issuers take two renewals at once for theft. */
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
 * Runs `work` within a timeout, which `goesOn` restarts. The signal of `work` is aborted when the time is over, or when
 * `outer` is. Rejects only with an `HttpFailure`.
 */
export const attempt = async <A>(
  what: string,
  timeoutMs: number,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal, goesOn: () => void) => Promise<A>,
): Promise<A> => {
  const abort = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  let giveUp: (failure: HttpFailure) => void = () => {}
  const over = new Promise<never>((_, reject) => {
    giveUp = (failure) => {
      reject(failure)
      abort.abort()
    }
  })
  const start = () => {
    clearTimeout(timer)
    timer = setTimeout(
      () => giveUp(new TransportError(`${what} was not answered within ${timeoutMs} ms`, { timedOut: true })),
      timeoutMs,
    )
  }
  const onOuterAbort = () => giveUp(new TransportError(`${what} was given up`))
  start()
  if (outer?.aborted === true) onOuterAbort()
  outer?.addEventListener('abort', onOuterAbort, { once: true })
  try {
    return await Promise.race([work(abort.signal, start), over])
  } catch (cause) {
    throw toFailure(what, cause)
  } finally {
    clearTimeout(timer)
    outer?.removeEventListener('abort', onOuterAbort)
    // Releases the rest of an answer that nobody reads.
    abort.abort()
  }
}

export const toFailure = (what: string, cause: unknown): HttpFailure =>
  isHttpFailure(cause) ? cause : new TransportError(`${what} failed: ${String(cause)}`, { cause })

/** Reads the whole body. In a runtime without streams (React Native) it comes in one piece. */
export const readText = async (response: Response, onBytes: () => void): Promise<string> => {
  const { body } = response
  if (body === null || body === undefined) return response.text()
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

/** By LiveStore's convention, the app's sync payload carries the token as `authToken`. */
export const authTokenOf = (payload: unknown): string | undefined => {
  if (typeof payload !== 'object' || payload === null || !('authToken' in payload)) return undefined
  return typeof payload.authToken === 'string' && payload.authToken !== '' ? payload.authToken : undefined
}

/** Bypasses the HTTP cache. Cloudflare's runtime has none, and older compatibility dates refuse the option. */
export const noStore = (): { cache?: 'no-store' } =>
  (globalThis as { navigator?: { userAgent?: string } }).navigator?.userAgent === 'Cloudflare-Workers'
    ? {}
    : { cache: 'no-store' }

/** A signal ends the pause early. It does not reject then. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    if (signal?.aborted === true) done()
    signal?.addEventListener('abort', done, { once: true })
  })
