// Somebody else who answers in place of the server: a captive portal, a login page, a firewall, a redirect, another service. A
// stranger on a counting proxy comes and goes as a test says.
import { type CountingProxy, matches, type RequestFilter } from './counting-proxy.ts'
import type { Answer, Fault, RecordedRequest } from './exchange.ts'

/** A stranger's answer to a request. */
export type Says = (request: RecordedRequest) => Fault

/** Without either limit, the stranger stays until `leave`. */
interface Stay {
  /** The time counts from its first answer. */
  ms?: number
  times?: number
}

export interface Visit {
  /** The requests that it answered, in order. */
  readonly answered: readonly RecordedRequest[]
  /** Resolves once it has answered a request. */
  readonly met: Promise<RecordedRequest>
  /** Resolves once it has left. */
  readonly over: Promise<void>
  leave(): void
}

export interface Stranger {
  /** The stranger answers matching requests. Of several visits the first one answers. Open connections stay. */
  comes(says: Says, which?: RequestFilter & Stay): Visit
}

/** The stranger takes the proxy's `inject` for itself. */
export function makeStranger(proxy: CountingProxy): Stranger {
  const visits = new Set<PendingVisit>()
  const said = new Map<RecordedRequest, PendingVisit>()
  proxy.inject(
    (request) => {
      if (request.path === LOGIN_PATH) return loginPage
      const visit = [...visits].find(({ which }) => matches(request, which))
      if (visit === undefined) return undefined
      said.set(request, visit)
      visit.takesOne()
      return visit.says(request)
    },
    (_, request) => said.get(request)?.hasAnswered(request),
  )
  return {
    comes(says, { ms, times = Number.POSITIVE_INFINITY, ...which } = {}) {
      const visit = new PendingVisit(says, which, times, () => visits.delete(visit))
      visits.add(visit)
      if (ms !== undefined) void visit.met.then(() => setTimeout(() => visit.leave(), ms).unref())
      return visit
    },
  }
}

class PendingVisit implements Visit {
  readonly answered: RecordedRequest[] = []
  readonly says: Says
  readonly which: RequestFilter
  readonly #met = Promise.withResolvers<RecordedRequest>()
  readonly #over = Promise.withResolvers<void>()
  readonly #onLeave: () => void
  #left: number

  constructor(says: Says, which: RequestFilter, times: number, onLeave: () => void) {
    this.says = says
    this.which = which
    this.#left = times
    this.#onLeave = onLeave
  }

  get met(): Promise<RecordedRequest> {
    return this.#met.promise
  }

  get over(): Promise<void> {
    return this.#over.promise
  }

  takesOne(): void {
    this.#left -= 1
    if (this.#left <= 0) this.leave()
  }

  hasAnswered(request: RecordedRequest): void {
    this.answered.push(request)
    this.#met.resolve(request)
  }

  leave(): void {
    this.#onLeave()
    this.#over.resolve()
  }
}

/** Every stranger serves its login page here. */
export const LOGIN_PATH = '/login'

const html = (status: number, title: string, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8', ...headers },
  body: `<!doctype html><html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>`,
})

const loginPage = html(200, 'Please log in')

/** The strangers' answers. */
export const answers: {
  /** A captive portal answers 200 to every request. */
  portal: Says
  /** A gateway with single sign-on redirects to its login page, which answers 200. */
  login: Says
  /** A page of a refusal: by a firewall, a proxy, a static host. */
  page: (status: number) => Says
  /** The challenge of a firewall to a browser. */
  challenge: (status: number) => Says
  /** A redirect to the same path at another origin, as from http to https and from apex to www. */
  redirect: (status: number, origin: string) => Says
  /** Another service's JSON. */
  json: (body: unknown, status?: number) => Says
  /** Another service's problem (RFC 9457). */
  problem: (status: number) => Says
  /** Another service's server-sent events. */
  events: Says
  empty: Says
  noContent: Says
  /** The server's own answer with another body. */
  swapped: (body: string) => Says
  /** The server's earlier answer to another request. */
  of: (answer: Answer) => Says
} = {
  portal: () => html(200, 'Welcome to the guest network'),
  login: ({ path }) => ({ status: 302, headers: { location: `${LOGIN_PATH}?next=${encodeURIComponent(path)}` } }),
  page: (status) => () => html(status, `Error ${status}`),
  challenge: (status) => () => html(status, 'Just a moment...', { 'cf-mitigated': 'challenge' }),
  redirect:
    (status, origin) =>
    ({ path, query }) => ({
      status,
      headers: { location: `${new URL(origin).origin}${path}${query.size === 0 ? '' : `?${query}`}` },
    }),
  json:
    (body, status = 200) =>
    () => ({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  problem: (status) => () => ({
    status,
    headers: { 'content-type': 'application/problem+json' },
    body: JSON.stringify({ type: 'https://gateway.example/problems/refused', title: 'Refused', status }),
  }),
  events: () => ({
    status: 200,
    headers: { 'content-type': 'text/event-stream' },
    body: 'event: message\ndata: {"message":"hi"}\n\nevent: data\ndata: {"message":"hi"}\n\nevent: control\ndata: {"ok":true}\n\n',
  }),
  empty: () => ({ status: 200 }),
  noContent: () => ({ status: 204 }),
  swapped: (body) => () => ({ swapBody: body }),
  of: (answer) => () => answer,
}

/** The server's answer there now, for `answers.of`. */
export async function answerOf(url: string): Promise<Answer> {
  const response = await fetch(url)
  const headers = Object.fromEntries([...response.headers].filter(([name]) => !OF_THE_CONNECTION.has(name)))
  return { status: response.status, headers, body: await response.text() }
}

const OF_THE_CONNECTION = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'keep-alive',
  'transfer-encoding',
])
