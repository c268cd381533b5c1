// Which requests between the Worker and the upstream go wrong, and how.
import type { Fault, RecordedRequest } from '../harness/index.ts'
import type { Random } from './random.ts'

/** The Worker of these tests gives up waiting after this; what is late is later. */
export const UPSTREAM_TIMEOUT_MS = 1_000

export const FAULT_KINDS = [
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
export type FaultKind = (typeof FAULT_KINDS)[number]

/** A decide-hook for the proxy: of requests the share `intensity` goes wrong, of live reads most: they are few. */
export function planFaults(random: Random, intensity: number): (request: RecordedRequest) => Fault | undefined {
  const streams = new Map<string, Random>()
  return (request) => {
    // A generator a store: what happens to one must not depend on how often another is asked
    const own = streams.get(request.path) ?? random.fork(request.path)
    streams.set(request.path, own)
    if (isLive(request)) return own.chance(0.8) ? fault(own.pick(LIVE_KINDS), own) : undefined
    return own.chance(intensity) ? fault(own.pick(FAULT_KINDS.filter((kind) => fits(kind, request))), own) : undefined
  }
}

const isLive = (request: RecordedRequest) => request.query.has('live')

// What happens to a live read is mostly that it ends, in the middle of something
const LIVE_KINDS = [...FAULT_KINDS, ...Array.from({ length: 4 }, () => ['body reset', 'body truncated'] as const).flat()]

// The answers to HEAD, PUT and POST have no body to break off
const fits = (kind: FaultKind, request: RecordedRequest) => !kind.startsWith('body') || request.method === 'GET'

function fault(kind: FaultKind, random: Random): Fault {
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

/** Within a page or the first events, or after some time of following. */
const bytes = (random: Random) => random.between(0, random.pick([500, 20_000]))

/** Past the time-out: some just, some long enough for others to have moved the head. */
const late = (random: Random) => UPSTREAM_TIMEOUT_MS + random.pick([10, 300, 1_000, 3_000])

export function kindOf(fault: Fault): FaultKind {
  if (fault === 'drop request') return 'request dropped'
  if (fault === 'drop response') return 'response dropped'
  if (typeof fault === 'string' || 'swapBody' in fault) throw new Error(`the plan has no ${JSON.stringify(fault)}`)
  if ('hold' in fault) return fault.hold === 'request' ? 'request late' : 'response late'
  if ('cutBody' in fault) return fault.cutBody === 'reset' ? 'body reset' : 'body truncated'
  return `${fault.status}${fault.applied ? ', applied' : ''}` as FaultKind
}
