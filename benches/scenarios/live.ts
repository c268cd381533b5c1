// (d) Delivery from one client's push to another client's live pull. (f) Delivery to a thousand live pulls.
import type { Client, Pull } from '../client.ts'
import { chain } from '../events.ts'
import { openSockets } from '../processes.ts'
import {
  ChainCheck,
  count,
  ms,
  percentile,
  pushAccepted,
  type Round,
  type Scenario,
  seconds,
  until,
  verify,
} from './scenario.ts'

export const delivery: Scenario = {
  id: 'd',
  title: () => 'live delivery, from the push to the other client',
  metrics: [ms('p50'), ms('p95'), ms('p99')],
  async run(round) {
    const pushes = round.quick ? 50 : 300
    const latencies = await deliver(round, 'live', { readers: 1, pushes, everyMs: 20, warmUp: 20 })
    return {
      p50: percentile(latencies.all, 50),
      p95: percentile(latencies.all, 95),
      p99: percentile(latencies.all, 99),
    }
  },
}

export const crowd: Scenario = {
  id: 'f',
  title: (quick) => `${quick ? 40 : '1,000'} live readers of one store, in one process`,
  metrics: [
    ms('last', 'last reader, p50'),
    ms('p50', 'all readers, p50'),
    seconds('connected', 'all connected after'),
    count('missed', 'deliveries missed'),
    count('held', 'upstream connections held'),
  ],
  rounds: (_, asked) => Math.min(asked, 3),
  async run(round) {
    const { all, last, connectedMs, missed, held } = await deliver(round, 'crowd', {
      readers: round.quick ? 40 : 1_000,
      pushes: round.quick ? 5 : 20,
      everyMs: round.quick ? 200 : 500,
      warmUp: 2,
      countsConnections: true,
    })
    if (missed > 0) round.problem(`${missed} deliveries did not come within ${TIMEOUT_MS / 1_000} s`)
    return {
      last: percentile(last, 50),
      p50: percentile(all, 50),
      connected: connectedMs / 1_000,
      missed,
      ...(held === undefined ? {} : { held }),
    }
  },
}

const TIMEOUT_MS = 15_000
const PARALLEL_STARTS = 50
const IDLE_CONNECTIONS_END_MS = 10_000

interface Reader {
  readonly client: Client
  readonly pull: Pull
  readonly check: ChainCheck
  began: boolean
  ended: string | undefined
}

interface Delivery {
  readonly readers: number
  readonly pushes: number
  readonly everyMs: number
  readonly warmUp: number
  /** Whether to count the upstream's connections that the readers hold. */
  readonly countsConnections?: boolean
}

async function deliver(
  round: Round,
  storeId: string,
  { readers: size, pushes, everyMs, warmUp, countsConnections = false }: Delivery,
) {
  const writer = await round.open(storeId)
  let head = 0
  await pushAccepted(writer, chain(head++, 1))

  const before = countsConnections ? await upstreamConnections(round) : undefined

  const sent: number[] = []
  const arrived: number[][] = []
  const readers: Reader[] = []
  const start = performance.now()
  const follow = async (): Promise<void> => {
    const client = await round.open(storeId)
    const check = new ChainCheck()
    const pull = client.pull(
      (events) => {
        const now = performance.now()
        reader.began = true
        check.take(events)
        for (const { seqNum } of events) arrived[seqNum]?.push(now)
      },
      { live: true },
    )
    const reader: Reader = { client, pull, check, began: false, ended: undefined }
    void pull.ended.then((error) => (reader.ended = error ?? 'the pull ended'))
    readers.push(reader)
    if (!(await until(() => reader.began || reader.ended !== undefined, TIMEOUT_MS)))
      throw new Error('a live pull delivered nothing')
    if (reader.ended !== undefined) throw new Error(reader.ended)
  }
  for (let started = 0; started < size; started += PARALLEL_STARTS) {
    await Promise.all(Array.from({ length: Math.min(PARALLEL_STARTS, size - started) }, follow))
  }
  const connectedMs = performance.now() - start
  // Not every backend shows when its pull has gone from history to new events
  await new Promise((resolve) => setTimeout(resolve, 500))

  const held = before === undefined ? undefined : await heldConnections(round, before)

  for (let i = 0; i < warmUp + pushes; i++) {
    const seqNum = head + 1
    arrived[seqNum] = []
    const begin = performance.now()
    sent[seqNum] = begin
    await pushAccepted(writer, chain(head++, 1))
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, everyMs - (performance.now() - begin))))
  }
  await until(() => readers.every(({ check, ended }) => check.head === head || ended !== undefined), TIMEOUT_MS)
  const broken = readers.find(({ ended }) => ended !== undefined)?.ended
  if (broken !== undefined) throw new Error(`a live pull ended: ${broken}`)

  const all: number[] = []
  const last: number[] = []
  let missed = 0
  for (let seqNum = head - pushes + 1; seqNum <= head; seqNum++) {
    const times = (arrived[seqNum] ?? []).map((at) => at - (sent[seqNum] ?? 0))
    all.push(...times)
    missed += size - times.length
    if (times.length === size) last.push(Math.max(...times))
  }
  if (size === 1 && missed > 0) throw new Error(`${missed} of ${pushes} events were not delivered`)
  for (const { pull, client } of readers) {
    await pull.stop()
    await client.close()
  }
  await writer.close()
  await verify(round, storeId, head)
  return { all, last, missed, connectedMs, held }
}

/** The connections of the upstream; undefined without an upstream, or where the system can't tell. */
async function upstreamConnections({ processes }: Round): Promise<number | undefined> {
  const pid = processes['upstream']
  return pid === undefined || process.platform !== 'linux' ? undefined : openSockets(pid)
}

/** The connections that there are more than before. Those of the reads that the readers began with are closed within seconds. */
async function heldConnections(round: Round, before: number): Promise<number> {
  const deadline = performance.now() + IDLE_CONNECTIONS_END_MS
  for (;;) {
    const held = ((await upstreamConnections(round)) ?? before) - before
    if (held <= 0 || performance.now() > deadline) return Math.max(0, held)
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
