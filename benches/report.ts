// The figures as text: one table per scenario, and the targets.
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'
import type { Results, RoundResult } from './rounds.ts'
import { SCENARIOS } from './scenarios/index.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { type Spread, spread } from './spread.ts'
import { SYSTEMS, type SystemId } from './systems/model.ts'
import { targets } from './targets.ts'

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

function targetTable(report: Report): string {
  const rows = targets(report).map(({ what, measured, target, verdict }) => [
    what,
    measured === undefined ? '—' : figure(measured),
    target,
    verdict,
  ])
  return rows.length === 0 ? '' : `Targets\n${columns([['', 'measured', 'target', ''], ...rows])}`
}
