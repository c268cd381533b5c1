// The figures as text: one table per scenario, and the targets.
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'
import type { Results, RoundResult } from './rounds.ts'
import { SCENARIOS } from './scenarios/index.ts'
import type { Metric, Scenario } from './scenarios/scenario.ts'
import { SYSTEMS, type SystemId } from './systems/model.ts'

export interface Report {
  readonly at: string
  readonly quick: boolean
  readonly rounds: number
  readonly machine: Machine
  readonly scenarios: Readonly<Record<string, Results>>
  readonly skipped: Readonly<Record<string, string>>
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
  /** The load average of the minute before, per core: a value well above 0 means that other programs were running. */
  readonly loadBefore: number
}

export const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${release().split('.').slice(0, 2).join('.')}`,
  node: process.version,
  loadBefore: (loadavg()[0] ?? 0) / availableParallelism(),
})

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The spread of a figure over the rounds that have it. */
export function spread(results: readonly RoundResult[] | undefined, key: string): Spread | undefined {
  const values = (results ?? []).flatMap((result) => ('figures' in result ? (result.figures[key] ?? []) : []))
  if (values.length === 0) return undefined
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const median = ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2
  return { median, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0 }
}

export const tables = (report: Report): string =>
  [
    ...SCENARIOS.filter(({ id }) => id in report.scenarios).map((scenario) => table(scenario, report)),
    ...Object.entries(report.skipped).map(([system, reason]) => `${system} was not measured: ${reason}`),
    targetTable(report),
  ].join('\n\n')

function table(scenario: Scenario, { scenarios, quick }: Report): string {
  const results = scenarios[scenario.id] ?? {}
  const systems = Object.keys(results) as SystemId[]
  const rows = systems.map((system) => [
    SYSTEMS[system].title,
    ...scenario.metrics.map(({ key }) => cell(spread(results[system], key))),
  ])
  const notes = systems.flatMap((system) =>
    [...new Set((results[system] ?? []).flatMap(remarks))].map((remark) => `  ${system}: ${remark}`),
  )
  return [
    `(${scenario.id}) ${scenario.title(quick)}`,
    columns([['', ...scenario.metrics.map(({ title }) => title)], ...rows]),
    ...notes,
  ].join('\n')
}

const remarks = (result: RoundResult): readonly string[] =>
  'error' in result ? [`FAILED: ${result.error}`] : result.problems

const cell = (value: Spread | undefined): string =>
  value === undefined
    ? '—'
    : value.min === value.max
      ? figure(value.median)
      : `${figure(value.median)} [${figure(value.min)}–${figure(value.max)}]`

export const figure = (value: number): string =>
  value >= 1_000
    ? Math.round(value).toLocaleString('en')
    : value >= 100
      ? value.toFixed(0)
      : value >= 10
        ? value.toFixed(1)
        : String(Number(value.toFixed(2)))

function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)))
  return rows
    .map(
      (row) =>
        `  ${row.map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))).join('   ')}`,
    )
    .join('\n')
}

export interface Target {
  readonly what: string
  readonly measured: number
  readonly limit: number
  readonly isMinimum: boolean
}

export const isMet = ({ measured, limit, isMinimum }: Target): boolean =>
  isMinimum ? measured >= limit : measured <= limit

/** The targets for which this report has figures. Each is a ratio within one run on one machine. */
export function targets({ scenarios }: Report): Target[] {
  const value = (scenario: string, system: SystemId, key: string) => spread(scenarios[scenario]?.[system], key)?.median
  const bestRival = (scenario: string, key: string, better: Metric['better']) => {
    const rivals = (Object.keys(SYSTEMS) as SystemId[]).filter((system) => SYSTEMS[system].role === 'rival')
    const values = rivals.flatMap((system) => value(scenario, system, key) ?? [])
    return values.length === 0 ? undefined : better === 'less' ? Math.min(...values) : Math.max(...values)
  }
  const found: Target[] = []
  const target = (
    what: string,
    measured: number | undefined,
    of: number | undefined,
    limit: number,
    isMinimum = false,
  ) => {
    if (measured !== undefined && of !== undefined) found.push({ what, measured: measured / of, limit, isMinimum })
  }
  const ours = (scenario: string, key: string) => value(scenario, 'headwater', key)

  target('(a) push p50 / the best rival’s', ours('a', 'p50'), bestRival('a', 'p50', 'less'), 0.5)
  target('(a) push p50 / the raw append’s', ours('a', 'p50'), value('a', 'floor', 'p50'), 5)
  target('(b) events/s / the best rival’s', ours('b', 'rate'), bestRival('b', 'rate', 'more'), 25, true)
  target('(b) events/s / the raw append’s', ours('b', 'rate'), value('b', 'floor', 'rate'), 0.35, true)
  for (const id of ['c', 'c200k']) {
    target(`(${id}) events/s cold / the best rival’s`, ours(id, 'cold'), bestRival(id, 'cold', 'more'), 40, true)
    target(
      `(${id}) events/s cold / the same client’s on the upstream`,
      ours(id, 'cold'),
      value(id, 'headwater-direct', 'cold'),
      0.7,
      true,
    )
    target(
      `(${id}) events/s warm / the same client’s on the upstream`,
      ours(id, 'warm'),
      value(id, 'headwater-direct', 'warm'),
      1,
      true,
    )
  }
  target('(d) live delivery p50 / the best rival’s', ours('d', 'p50'), bestRival('d', 'p50', 'less'), 0.5)
  for (const id of ['e', 'e10']) {
    target(`(${id}) total time / the best rival’s`, ours(id, 'total'), bestRival(id, 'total', 'less'), 0.15)
    target(`(${id}) errored pushes`, ours(id, 'failed'), 1, 0)
    target(`(${id}) last done / first done`, ours(id, 'spread'), 1, 3)
  }
  target('(h) refused p50 / an accepted push’s', ours('h', 'p50'), ours('h', 'accepted'), 0.5)
  return found
}

function targetTable(report: Report): string {
  const rows = targets(report).map((target) => [
    target.what,
    figure(target.measured),
    `${target.isMinimum ? '≥' : '≤'} ${target.limit}`,
    isMet(target) ? 'met' : 'MISSED',
  ])
  return rows.length === 0 ? '' : `Targets\n${columns([['', 'measured', 'target', ''], ...rows])}`
}
