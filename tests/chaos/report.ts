// The report on a run of rounds, for people and for machines.
import type { Verdict } from './oracle.ts'
import { isGood, type Round } from './round.ts'
import { Tally, TROUBLE_KINDS } from './tally.ts'

/** The faults of a round, with everything needed to understand them; empty without faults. */
export function complaints(round: Round): string {
  if (isGood(round)) return ''
  const { seed, verdict, stuck, anomalies, dump } = round
  const wrongs = Object.entries({ ...verdict, stuck, anomalies }).flatMap(([what, list]) => [
    ...list.slice(0, 20).map((each: string) => `  ${what}: ${each}`),
    ...(list.length > 20 ? [`  ${what}: ${list.length - 20} more`] : []),
  ])
  return [`WRONG in the round with seed ${seed}:`, ...wrongs, dump].join('\n')
}

/** The figures of all rounds. Their names are the command's interface. */
export function figures(seed: number, rounds: readonly Round[]) {
  const tally = total(rounds)
  const wrong = (key: keyof Verdict) => rounds.reduce((sum, { verdict }) => sum + verdict[key].length, 0)
  return {
    seed,
    rounds: rounds.length,
    seeds: rounds.map((round) => round.seed),
    acknowledged: tally.acknowledged,
    refused: tally.refused,
    maybe: tally.maybe,
    maybeLanded: tally.landed,
    lost: wrong('lost'),
    missing: wrong('missing'),
    doubled: wrong('doubled'),
    broken: wrong('broken'),
    refusedButThere: wrong('refused'),
    unknown: wrong('unknown'),
    torn: wrong('torn'),
    misread: wrong('misread'),
    stuck: rounds.reduce((sum, { stuck }) => sum + stuck.length, 0),
    anomalies: rounds.reduce((sum, { anomalies }) => sum + anomalies.length, 0),
    faults: tally.faults,
    faultsByKind: tally.troubles,
    lateAppends: tally.late,
    answers: tally.answers,
    reconnects: tally.reconnects,
    sockets: tally.sockets,
    moves: tally.moves,
    longestStallMs: tally.stalls.writer.ms,
    longestCalmStallMs: tally.stalls.writer.calmMs,
    longestStoreStallMs: tally.stalls.store.ms,
  }
}

const WRONGS = [
  'lost',
  'missing',
  'doubled',
  'broken',
  'refusedButThere',
  'unknown',
  'torn',
  'misread',
  'stuck',
  'anomalies',
] as const

export function table(seed: number, rounds: readonly Round[]): string {
  const { faultsByKind, lateAppends, answers, seeds, ...rest } = figures(seed, rounds)
  const answered = Object.entries(answers).sort(([a], [b]) => a.localeCompare(b))
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`
  return (
    section('faults injected', [
      ...TROUBLE_KINDS.map((kind) => [kind, faultsByKind[kind]] as const),
      ['all', rest.faults],
    ]) +
    section('appends that came after the timeout', Object.entries(lateAppends)) +
    section('answers to pushes', answered) +
    section('events, by attempt', [
      ['acknowledged', rest.acknowledged],
      ['refused', rest.refused],
      ['maybe', rest.maybe],
      ['maybe, and in the log', rest.maybeLanded],
    ]) +
    section(
      'wrong',
      WRONGS.map((key) => [key, rest[key]]),
    ) +
    section('clients', [
      ['live reads reopened', rest.reconnects],
      ['sockets opened', rest.sockets],
      ['logs moved', rest.moves],
      ['longest stall of a writer', seconds(rest.longestStallMs)],
      ['longest after the last fault', seconds(rest.longestCalmStallMs)],
      ['longest of all writers of a store', seconds(rest.longestStoreStallMs)],
    ]) +
    `rounds ${rest.rounds}, seed ${seed}, their seeds ${seeds.join(' ')}`
  )
}

export function progress({ seed, tally }: Round): string {
  const { acknowledged, refused, maybe, faults, stalls } = tally
  const events = `${acknowledged} events acknowledged, ${refused} refused, ${maybe} maybe`
  return `seed ${seed}: ${faults} faults; ${events}; longest stall ${stalls.writer.ms} ms`
}

function total(rounds: readonly Round[]): Tally {
  const sum = new Tally()
  for (const { tally } of rounds) sum.add(tally)
  return sum
}

const section = (title: string, rows: readonly (readonly [string, number | string])[]) =>
  [title, ...rows.map(([name, value]) => `  ${name.padEnd(36)}${String(value).padStart(9)}`), ''].join('\n')
