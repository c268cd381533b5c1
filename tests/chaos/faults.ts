// The faults of requests between the Worker and the upstream, and between the clients and the Worker.
import { answers, type CountingProxy, type Fault, type RecordedRequest, type Says } from '../harness/index.ts'
import type { Random } from '../support/random.ts'

/** The timeout of these tests' Worker. A late request or answer is later. */
export const UPSTREAM_TIMEOUT_MS = 1_000

/** Faults of connections, and answers of a server that has a problem itself. */
const OWN_KINDS = [
  'request dropped',
  'response dropped',
  'request late',
  'response late',
  'body reset',
  'body truncated',
  '500',
  '500, applied',
  '503',
  '503, applied',
] as const

/** Answers of somebody else. */
const FOREIGN_KINDS = [
  'portal',
  'login',
  'redirect 301',
  'redirect 302',
  'redirect 307',
  'redirect 308',
  'page 403',
  'page 404',
  'page 405',
  'page 410',
  'other JSON',
  'other events',
  'no content',
] as const
type ForeignKind = (typeof FOREIGN_KINDS)[number]

/** Sockets last. Some that are to break end before. */
const SOCKET_SHARE = 0.6

/** Faults of an open socket, in mid-frame or between two frames. */
const SOCKET_KINDS = ['socket reset', 'socket ended', 'socket silent'] as const
type SocketKind = (typeof SOCKET_KINDS)[number]

export const FAULT_KINDS = [...OWN_KINDS, ...FOREIGN_KINDS, ...SOCKET_KINDS]
export type FaultKind = (typeof FAULT_KINDS)[number]

export interface Plan {
  /** For the proxy's `inject`. */
  readonly decide: (request: RecordedRequest) => Fault | undefined
  readonly kindOf: (request: RecordedRequest) => FaultKind
}

interface Where {
  readonly kinds: readonly FaultKind[]
  /** The share of requests that go wrong. Live reads are few and have their own. */
  readonly share: number
  readonly liveShare: number
  /** The target of redirects: the right server by another name. */
  readonly aside: CountingProxy
}

/** The way to the upstream has every kind of fault, and most live reads go wrong. */
export const upstreamPlan = (random: Random, aside: CountingProxy): Plan =>
  makePlan(random.fork('upstream'), { kinds: FAULT_KINDS, share: random.between(10, 30) / 100, liveShare: 0.8, aside })

/**
 * On the way to the Worker somebody else answers now and then, and sockets break. The clients make the other faults themselves:
 * they leave.
 */
export const clientPlan = (random: Random, aside: CountingProxy): Plan =>
  makePlan(random.fork('clients'), {
    kinds: [...FOREIGN_KINDS, ...SOCKET_KINDS],
    share: random.between(3, 12) / 100,
    liveShare: 0.3,
    aside,
  })

function makePlan(random: Random, { kinds, share, liveShare, aside }: Where): Plan {
  const streams = new Map<string, Random>()
  const chosen = new Map<RecordedRequest, FaultKind>()
  // Most faults of a live read break it off in the middle
  const breaks = kinds.filter((kind) => isOfTheBody(kind) || isOfASocket(kind))
  const liveKinds = [...kinds, ...breaks.flatMap((kind) => Array.from({ length: 4 }, () => kind))]
  return {
    decide(request) {
      // Each store has its own generator: its faults must not depend on the requests of another store
      const own = streams.get(request.path) ?? random.fork(request.path)
      streams.set(request.path, own)
      const isLive = request.query.has('live')
      if (!own.chance(isSocket(request) ? SOCKET_SHARE : isLive ? liveShare : share)) return undefined
      const kind = own.pick((isLive ? liveKinds : kinds).filter((each) => fits(each, request)))
      chosen.set(request, kind)
      if (isOfASocket(kind)) return socketFault(kind, own)
      return isForeign(kind) ? foreignAnswer(kind, request, own, aside) : ownFault(kind, own)
    },
    kindOf(request) {
      const kind = chosen.get(request)
      if (kind === undefined) throw new Error(`no fault was planned for ${request.method} ${request.path}`)
      return kind
    },
  }
}

const isSocket = ({ query }: RecordedRequest) => query.get('live') === 'websocket'
const isOfTheBody = (kind: FaultKind) => kind.startsWith('body')
const isOfASocket = (kind: FaultKind): kind is SocketKind => (SOCKET_KINDS as readonly string[]).includes(kind)
const isForeign = (kind: FaultKind): kind is ForeignKind => (FOREIGN_KINDS as readonly string[]).includes(kind)

// Answers to HEAD, PUT, POST and DELETE have no body to break off, and are no events
const fits = (kind: FaultKind, request: RecordedRequest) =>
  ((!isOfTheBody(kind) && kind !== 'other events') || request.method === 'GET') &&
  (!isOfASocket(kind) || isSocket(request))

const CUTS = { 'socket reset': 'reset', 'socket ended': 'end', 'socket silent': 'silence' } as const

/** The greeting and the frames of a few pushes are short. */
const socketFault = (kind: SocketKind, random: Random): Fault => ({
  cutBody: CUTS[kind],
  after: random.between(0, random.pick([400, 4_000])),
})

function ownFault(kind: Exclude<FaultKind, ForeignKind | SocketKind>, random: Random): Fault {
  switch (kind) {
    case 'request dropped':
      return 'drop request'
    case 'response dropped':
      return 'drop response'
    case 'request late':
      return { hold: 'request', ms: late(random) }
    case 'response late':
      return { hold: 'response', ms: late(random) }
    case 'body reset':
      return { cutBody: 'reset', after: bytes(random) }
    case 'body truncated':
      return { cutBody: 'end', after: bytes(random) }
    case '500':
      return { status: 500 }
    case '500, applied':
      return { status: 500, applied: true }
    case '503':
      return { status: 503, headers: { 'retry-after': '1' } }
    case '503, applied':
      return { status: 503, headers: { 'retry-after': '1' }, applied: true }
  }
}

/** In some cases the server has handled the request, and somebody else's answer replaces its own. */
function foreignAnswer(kind: ForeignKind, request: RecordedRequest, random: Random, aside: CountingProxy): Fault {
  const answer = foreign(kind, aside)(request)
  return typeof answer === 'object' && 'status' in answer ? { ...answer, applied: random.chance(0.3) } : answer
}

function foreign(kind: ForeignKind, aside: CountingProxy): Says {
  switch (kind) {
    case 'portal':
      return answers.portal
    case 'login':
      return answers.login
    case 'redirect 301':
    case 'redirect 302':
    case 'redirect 307':
    case 'redirect 308':
      return answers.redirect(Number(kind.slice(-3)), aside.url)
    case 'page 403':
    case 'page 404':
    case 'page 405':
    case 'page 410':
      return answers.page(Number(kind.slice(-3)))
    case 'other JSON':
      return answers.json({ error: 'x' })
    case 'other events':
      return answers.events
    case 'no content':
      return answers.noContent
  }
}

/** The break is within a page or the first events, or later in a live read. */
const bytes = (random: Random) => random.between(0, random.pick([500, 20_000]))

/** Past the timeout: sometimes just past it, sometimes long enough for other writers to move the head. */
const late = (random: Random) => UPSTREAM_TIMEOUT_MS + random.pick([10, 300, 1_000, 3_000])
