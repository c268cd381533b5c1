// Faults that only a client's own `fetch` can make, because it knows which request is live and sees its bytes.
import { HEAD_HEADER, PROBLEM_HEADER, problemType } from '../../client/src/protocol/index.js'

type Fetch = typeof globalThis.fetch
type Ask = {
  readonly url: URL
  readonly live: string | null
  readonly method: string
  readonly init: RequestInit | undefined
}

export interface Network {
  readonly fetch: Fetch
  readonly asked: Ask[]
  readonly count: (matching: (ask: Ask) => boolean) => number
  /** The number of open requests and unread bodies. */
  readonly inFlight: () => number
  /** Answers a matching request in the server's place. The returned function ends that. */
  intercept: (handler: (ask: Ask, next: () => Promise<Response>) => Promise<Response> | undefined) => () => void
}

export const isLive = (ask: Ask): boolean => ask.live !== null

export const makeNetwork = (): Network => {
  const asked: Ask[] = []
  const handlers = new Set<Parameters<Network['intercept']>[0]>()
  const open = new Set<object>()

  const fetchNow: Fetch = async (input, init) => {
    const url = new URL(String(input))
    const ask: Ask = { url, live: url.searchParams.get('live'), method: init?.method ?? 'GET', init }
    asked.push(ask)
    const key = {}
    open.add(key)
    init?.signal?.addEventListener('abort', () => open.delete(key))
    try {
      const next = () => globalThis.fetch(input, init)
      const handled = [...handlers].map((handler) => handler(ask, next)).find((_) => _ !== undefined)
      const response = await (handled ?? next())
      if (ask.live === null) open.delete(key)
      return response
    } catch (error) {
      open.delete(key)
      throw error
    }
  }

  return {
    fetch: fetchNow,
    asked,
    count: (matching) => asked.filter(matching).length,
    inFlight: () => open.size,
    intercept: (handler) => {
      handlers.add(handler)
      return () => handlers.delete(handler)
    },
  }
}

/** A refusal as the Worker makes it. */
export const refusal = (status: number, kind: string, problem: Record<string, unknown> = {}): Promise<Response> =>
  Promise.resolve(
    new Response(JSON.stringify({ type: problemType(kind), status, ...problem }), {
      status,
      headers: { 'content-type': 'application/problem+json', [PROBLEM_HEADER]: kind },
    }),
  )

/** A connection that died silently: headers, then nothing. */
export const silent = (ask: Ask): Promise<Response> => {
  const body = new ReadableStream({
    start: (controller) =>
      ask.init?.signal?.addEventListener('abort', () => controller.error(ask.init?.signal?.reason)),
  })
  return Promise.resolve(new Response(body, { headers: { 'content-type': 'text/event-stream', [HEAD_HEADER]: '0' } }))
}

/** Changes the server's bytes on their way. `last` ends the body there. */
export const mangle = async (
  next: () => Promise<Response>,
  change: (text: string) => string | { readonly last: string },
): Promise<Response> => {
  const response = await next()
  const body = response.body!.pipeThrough(new TextDecoderStream()).pipeThrough(
    new TransformStream<string, string>({
      transform: (text, controller) => {
        const changed = change(text)
        controller.enqueue(typeof changed === 'string' ? changed : changed.last)
        if (typeof changed !== 'string') controller.terminate()
      },
    }),
  )
  return new Response(body.pipeThrough(new TextEncoderStream()), { status: response.status, headers: response.headers })
}
