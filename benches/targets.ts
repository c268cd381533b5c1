// The targets. Each is a ratio within one run on one machine, or a count, unless it says otherwise.
import type { Report } from './report.ts'
import { spread } from './spread.ts'
import type { SystemId } from './systems/model.ts'

interface Rule {
  readonly what: string
  readonly scenario: string
  readonly key: string
  /** Whose figure; by default Headwater's on an upstream. */
  readonly of?: SystemId
  /** The figure is divided by this one: another system's with the same key, or another one of Headwater. */
  readonly per?: { readonly system: SystemId } | { readonly key: string }
  readonly atMost?: number
  readonly atLeast?: number
}

const RIVAL = { system: 'sync-cf-ws' } as const
const RAW = { system: 'floor' } as const
const DIRECT = { system: 'headwater-direct' } as const

const RULES: readonly Rule[] = [
  { what: '(a) push p50 / sync-cf’s by WebSocket', scenario: 'a', key: 'p50', per: RIVAL, atMost: 0.65 },
  { what: '(a) push p50 / the raw append’s', scenario: 'a', key: 'p50', per: RAW, atMost: 2.2 },
  { what: '(b) events/s / the raw append’s', scenario: 'b', key: 'rate', per: RAW, atLeast: 0.6 },
  { what: '(c) events/s cold / direct mode’s', scenario: 'c', key: 'cold', per: DIRECT, atLeast: 0.7 },
  { what: '(d) live delivery p50 / sync-cf’s by WebSocket', scenario: 'd', key: 'p50', per: RIVAL, atMost: 0.5 },
  { what: '(e) total time / sync-cf’s by WebSocket', scenario: 'e', key: 'total', per: RIVAL, atMost: 0.15 },
  { what: '(e) refusals per push', scenario: 'e', key: 'perPush', atMost: 0.2 },
  { what: '(e) last done / first done', scenario: 'e', key: 'spread', atMost: 1.2 },
  { what: '(e10) last done / first done', scenario: 'e10', key: 'spread', atMost: 1.3 },
  { what: '(f) last reader p50 / sync-cf’s by WebSocket', scenario: 'f', key: 'last', per: RIVAL, atMost: 0.3 },
  { what: '(f) upstream connections that readers hold', scenario: 'f', key: 'held', atMost: 0 },
  { what: '(f5000) deliveries missed', scenario: 'f5000', key: 'missed', atMost: 0 },
  { what: '(f5000) workerd’s memory per idle socket, KiB', scenario: 'f5000', key: 'memory', atMost: 100 },
  { what: '(g) pushes/s', scenario: 'g', key: 'rate', atLeast: 2_000 },
  {
    what: '(a) built-in log: push p50 / sync-cf’s by WebSocket',
    scenario: 'a',
    key: 'p50',
    of: 'headwater-built-in',
    per: RIVAL,
    atMost: 0.5,
  },
  {
    what: '(b) built-in log: events/s / sync-cf’s by WebSocket',
    scenario: 'b',
    key: 'rate',
    of: 'headwater-built-in',
    per: RIVAL,
    atLeast: 10,
  },
  {
    what: '(c200k) built-in log: events/s cold / sync-cf’s',
    scenario: 'c200k',
    key: 'cold',
    of: 'headwater-built-in',
    per: RIVAL,
    atLeast: 20,
  },
  { what: '(h) refused p50 / an accepted push’s', scenario: 'h', key: 'p50', per: { key: 'accepted' }, atMost: 0.25 },
]

export interface Target {
  readonly what: string
  /** Undefined if a system that it needs has no figure. */
  readonly measured: number | undefined
  readonly target: string
  readonly verdict: 'met' | 'MISSED' | 'NOT MEASURED'
}

/** The targets of the scenarios and systems in the report. */
export function targets({ scenarios }: Report): Target[] {
  return RULES.flatMap(({ what, scenario, key, of = 'headwater', per, atMost, atLeast }) => {
    const results = scenarios[scenario]
    const other: SystemId = per !== undefined && 'system' in per ? per.system : of
    if (results?.[of] === undefined || results[other] === undefined) return []
    const ours = spread(results[of], key)?.median
    const divisor = per === undefined ? 1 : spread(results[other], 'key' in per ? per.key : key)?.median
    const measured = ours === undefined || divisor === undefined ? undefined : ours / divisor
    const target = atMost === undefined ? `≥ ${atLeast?.toLocaleString('en')}` : `≤ ${atMost}`
    return [{ what, measured, target, verdict: verdictOf(measured, atMost, atLeast) }]
  })
}

function verdictOf(measured: number | undefined, atMost = Infinity, atLeast = -Infinity): Target['verdict'] {
  if (measured === undefined) return 'NOT MEASURED'
  return measured <= atMost && measured >= atLeast ? 'met' : 'MISSED'
}
