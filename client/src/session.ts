/**
 * One read session on `@durable-streams/client`: a catch-up and, if live, what follows it. The session ends at the first
 * lost connection, and its owner (pull.ts) decides what comes next: the library's own endless retries are off, because
 * they know neither LiveStore's `isConnected` nor a changed backend.
 *
 * Batches are handed over one by one. As long as nobody takes the next one, nothing is read from the socket.
 */
import { FetchError, stream } from '@durable-streams/client'

import { BACKEND_ID_HEADER, noStore } from './backend-id.ts'
import { type HttpFailure, responseError, TransportError } from './errors.ts'
import type { LiveMode } from './options.ts'

export interface Batch {
  readonly messages: ReadonlyArray<unknown>
  /** The offset after the batch. */
  readonly offset: string
  readonly upToDate: boolean
}

export type Next =
  | { readonly _tag: 'Batch'; readonly batch: Batch }
  /** The server ended it in good order, as it does every minute or so. */
  | { readonly _tag: 'Ended' }
  | { readonly _tag: 'Failed'; readonly failure: HttpFailure }
  /** An answer came from a backend that is not the remembered one. Its body is not worth waiting for: it may never come. */
  | { readonly _tag: 'OtherBackend'; readonly backendId: string }

export interface Session {
  readonly openedAt: number
  /** When a newer session should take over. */
  readonly renewAt: number
  readonly next: () => Promise<Next>
  /** Aborts every request at once. */
  readonly close: () => void
  /** The newest that response headers said. */
  readonly head: () => number | undefined
  readonly backendId: () => string | undefined
  /** How its SSE connection has been, if it had one. */
  readonly sse: () => { readonly since: number; readonly heard: boolean; readonly silent: boolean } | undefined
}

export interface SessionOptions {
  readonly url: string
  readonly offset: string
  readonly live: false | LiveMode
  readonly isExpected: (backendId: string) => boolean
  /** Read past every HTTP cache. */
  readonly fresh: boolean
  readonly fetch: typeof globalThis.fetch
  readonly stallTimeout: number
  /** An SSE connection whose first byte takes longer is held back by something on the way (live-mode.ts). */
  readonly firstByteTimeout: number
  readonly renewAfter: number
}

export const openSession = (options: SessionOptions): Session => {
  const abort = new AbortController()
  const handover = makeHandover()
  let head: number | undefined
  let backendId: string | undefined
  let sse: { readonly since: number; heard: boolean; silent: boolean } | undefined

  const finish = (end: Next) => {
    handover.end(end)
    abort.abort()
  }
  const stalled = (timeoutMs: number) => {
    if (sse?.heard === false) sse.silent = true
    finish({ _tag: 'Failed', failure: new TransportError(`no byte within ${timeoutMs} ms`) })
  }
  /** How long the next byte may take. */
  const patience = () => (sse?.heard === false ? Math.min(options.firstByteTimeout, options.stallTimeout) : options.stallTimeout)

  const startTimer = () => {
    const timeoutMs = patience()
    return setTimeout(() => stalled(timeoutMs), timeoutMs)
  }

  /** Sees every request of the session: reads the headers the library drops, guards the time, ends it after one SSE. */
  const guardedFetch: typeof globalThis.fetch = async (input, init) => {
    const live = new URL(String(input)).searchParams.get('live')
    if (live === 'sse' && sse !== undefined) {
      finish({ _tag: 'Ended' })
      throw new TransportError('the session is over')
    }
    if (live === 'sse') sse = { since: Date.now(), heard: false, silent: false }

    const timer = startTimer()
    try {
      const response = await options.fetch(input, { ...init, ...(options.fresh ? noStore() : {}) })
      backendId = response.headers.get(BACKEND_ID_HEADER) ?? backendId
      if (backendId !== undefined && !options.isExpected(backendId)) finish({ _tag: 'OtherBackend', backendId })
      const said = Number(response.headers.get('livestore-head') ?? Number.NaN)
      if (Number.isSafeInteger(said)) head = Math.max(head ?? 0, said)
      return guardBody(response, startTimer, () => {
        if (sse !== undefined && live === 'sse') sse.heard = true
      })
    } finally {
      clearTimeout(timer)
    }
  }

  const run = async () => {
    const response = await stream({
      url: options.url,
      offset: options.offset,
      live: options.live,
      json: true,
      fetch: guardedFetch,
      signal: abort.signal,
      backoffOptions: { initialDelay: 0, maxDelay: 0, multiplier: 1, maxRetries: 0 },
      // With no shortest life every end of an SSE goes straight to `guardedFetch`, which ends the session.
      sseResilience: { minConnectionDuration: 0, logWarnings: false },
      warnOnHttp: false,
    })
    if (options.live === false) {
      // One request, one page: `closed` would resolve before a subscriber has seen it.
      response.closed.catch(() => {})
      // Not `response.json()`: it hands all messages to one call as arguments, and a long log has more than a call may have.
      const messages: ReadonlyArray<unknown> = JSON.parse((await response.text()).trim() || '[]')
      return handover.give({ messages, offset: response.offset, upToDate: response.upToDate })
    }
    response.subscribeJson(({ items, offset, upToDate }) => handover.give({ messages: items, offset, upToDate }))
    await response.closed
  }
  run().then(
    () => finish({ _tag: 'Ended' }),
    (cause: unknown) => finish({ _tag: 'Failed', failure: toFailure(cause) }),
  )

  const openedAt = Date.now()
  return {
    openedAt,
    renewAt: openedAt + options.renewAfter,
    next: handover.take,
    close: () => finish({ _tag: 'Ended' }),
    head: () => head,
    backendId: () => backendId,
    sse: () => sse,
  }
}

/** Passes one batch at a time; `give` resolves when the batch has been taken. What was given before the end is still taken. */
const makeHandover = () => {
  let waiting: { readonly batch: Batch; readonly taken: () => void } | undefined
  let taker: ((next: Next) => void) | undefined
  let end: Next | undefined

  return {
    give: (batch: Batch): Promise<void> =>
      new Promise((resolve) => {
        if (end !== undefined) return resolve()
        if (taker === undefined) {
          waiting = { batch, taken: resolve }
          return
        }
        taker({ _tag: 'Batch', batch })
        taker = undefined
        resolve()
      }),
    take: (): Promise<Next> =>
      new Promise((resolve) => {
        if (waiting !== undefined) {
          const { batch, taken } = waiting
          waiting = undefined
          taken()
          return resolve({ _tag: 'Batch', batch })
        }
        if (end !== undefined) return resolve(end)
        taker = resolve
      }),
    end: (reason: Next) => {
      if (end !== undefined) return
      end = reason
      waiting?.taken()
      taker?.(reason)
      taker = undefined
    },
  }
}

/** Counts the time only while a read is pending: a slow consumer is no stalled server. */
const guardBody = (response: Response, startTimer: () => ReturnType<typeof setTimeout>, onByte: () => void): Response => {
  if (response.body === null) return response
  const reader = response.body.getReader()
  const body = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const timer = startTimer()
        try {
          const { done, value } = await reader.read()
          if (done) controller.close()
          else {
            onByte()
            controller.enqueue(value)
          }
        } finally {
          clearTimeout(timer)
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  const { status, statusText, headers } = response
  return new Response(body, { status, statusText, headers })
}

const toFailure = (cause: unknown): HttpFailure => {
  if (cause instanceof FetchError) {
    const body = cause.text ?? (cause.json === undefined ? '' : JSON.stringify(cause.json))
    return responseError(cause.url, cause.status, body, cause.headers['retry-after'] ?? null)
  }
  if (cause instanceof TransportError) return cause
  // Includes bodies that are not JSON: cut off, or a captive portal's page.
  return new TransportError(`read failed: ${String(cause)}`, { cause })
}
