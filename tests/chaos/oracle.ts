// Judges one store at the end: the log against the writers' acknowledgements and the readers' views. Pure. It states the rules
// once more, on purpose: an oracle that shares code with the provider would share its mistakes.
import type { Attempt, ChaosEvent, View } from './history.ts'

export interface Evidence {
  /** Every event of the stream, from the upstream itself. */
  readonly log: readonly ChaosEvent[]
  readonly made: ReadonlySet<string>
  readonly attempts: ReadonlyMap<string, Attempt>
  /** The views of readers and writers, after all had the time to see everything. */
  readonly views: readonly Pick<View, 'name' | 'attempts' | 'breaks'>[]
}

/** The broken promises, in words. All are empty if every promise was kept. */
export interface Verdict {
  /** Acknowledged, but not in the log. */
  lost: string[]
  /** Made, but in the log in no attempt: the writer was stuck, or wrongly believes that the event is in the log. */
  missing: string[]
  /** In the log more than once: an acknowledged event, a maybe, or an event in two attempts. */
  doubled: string[]
  /** The log is no chain: a gap or a fork. */
  broken: string[]
  /** Refused, but in the log. */
  refused: string[]
  /** In the log, but pushed by nobody. */
  unknown: string[]
  /** A batch that is only partly in the log. */
  torn: string[]
  /** A client saw something other than the chain. */
  misread: string[]
}

export function judge({ log, made, attempts, views }: Evidence): Verdict {
  const inLog = log.map(({ args }) => args.attempt)
  const times = counts(inLog)
  const eventTimes = counts(log.map(({ args }) => args.event))
  const all = [...attempts]
  const landed = (id: string) => times.get(id) ?? 0
  return {
    lost: all
      .filter(([id, { outcome }]) => outcome === 'acknowledged' && landed(id) === 0)
      .map(([id]) => `${id} was acknowledged`),
    missing: [...made].filter((event) => !eventTimes.has(event)).map((event) => `${event} was made`),
    doubled: [...eventTimes].filter(([, n]) => n > 1).map(([event, n]) => `${event} is there ${n} times`),
    broken: breaksOf(log),
    refused: all
      .filter(([id, { outcome }]) => outcome === 'refused' && landed(id) > 0)
      .map(([id]) => `${id} was refused`),
    unknown: inLog.filter((id) => !attempts.has(id)).map((id) => `${id} was pushed by nobody`),
    torn: tornBatches(all.map(([id, { batch }]) => ({ batch, landed: landed(id) > 0 }))),
    misread: views.flatMap((view) => misreadings(view, inLog)),
  }
}

/** An empty verdict, to which the round adds others. */
export const acquittal = (): Verdict => ({
  lost: [],
  missing: [],
  doubled: [],
  broken: [],
  refused: [],
  unknown: [],
  torn: [],
  misread: [],
})

export const isClean = (verdict: Verdict) => Object.values(verdict).every((wrongs) => wrongs.length === 0)

function counts(items: readonly string[]): Map<string, number> {
  const counted = new Map<string, number>()
  for (const item of items) counted.set(item, (counted.get(item) ?? 0) + 1)
  return counted
}

function breaksOf(log: readonly ChaosEvent[]): string[] {
  return log.flatMap(({ seqNum, parentSeqNum, args }, index) => {
    const before = log[index - 1]?.seqNum ?? 0
    if (parentSeqNum === before && seqNum === before + 1) return []
    return [`event ${seqNum} (${args.attempt}) with the parent ${parentSeqNum} follows event ${before}`]
  })
}

function tornBatches(events: readonly { batch: string; landed: boolean }[]): string[] {
  const batches = Map.groupBy(events, ({ batch }) => batch)
  return [...batches].flatMap(([batch, parts]) => {
    const landed = parts.filter((part) => part.landed).length
    return landed === 0 || landed === parts.length ? [] : [`${landed} of ${parts.length} events of ${batch} are there`]
  })
}

function misreadings({ name, attempts, breaks }: Evidence['views'][number], log: readonly string[]): string[] {
  const length = Math.max(attempts.length, log.length)
  for (let i = 0; i < length; i++) {
    if (attempts[i] === log[i]) continue
    const difference = `${name} has ${attempts[i] ?? 'nothing'} as event ${i + 1}, but the log has ${log[i] ?? 'nothing'}`
    return [...breaks.map((each) => `${name}: ${each}`), difference]
  }
  return breaks.map((each) => `${name}: ${each}`)
}
