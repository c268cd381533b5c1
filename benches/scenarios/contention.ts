// (e) Writers that all push at the same time. Each does what LiveStore's leader does (LeaderSyncProcessor.ts): it pushes onto
// the head that it knows. If its live pull delivers other events meanwhile, it stops the push and rebases. If the server is
// ahead, it waits until the pull has delivered the missing events.
import type { Client } from '../client.ts'
import { chain, type Event } from '../events.ts'
import { ChainCheck, count, type Round, type Scenario, seconds, until, verify } from './scenario.ts'

const sizes = (quick: boolean) => (quick ? { writers: 6, events: 10 } : { writers: 20, events: 50 })
/** LiveStore's first wait after an error (LeaderSyncProcessor.ts, `backgroundBackendPushing`). */
const RETRY_MS = 1_000

const contention = (id: string, eventsPerPush: number): Scenario => ({
  id,
  title: (quick) =>
    `${sizes(quick).writers} contending writers, ${sizes(quick).events} events each, ${eventsPerPush} per push`,
  metrics: [
    seconds('total', 'until all are done'),
    count('spread', 'last done / first done'),
    count('refused', 'refused, as writers see it'),
    count('byServer', 'refused by the server'),
    count('perPush', 'per push'),
    count('failed', 'errored'),
  ],
  exclusion: (system) =>
    system === 'sync-s2' ? 'never refuses a push, so contending writers break its chain' : undefined,
  vars: { INSPECTOR: 'on' },
  rounds: (system, asked) => (system.startsWith('sync-cf') ? Math.min(asked, 2) : asked),
  async run(round) {
    const { writers: size, events } = sizes(round.quick)
    const withinMs = round.quick ? 15_000 : 90_000
    const timeUp = { value: false }
    const writers = await Promise.all(
      Array.from(
        { length: size },
        async (_, i) => new Writer(await round.open('contended'), `writer-${i}`, events, timeUp),
      ),
    )
    await until(() => writers.every(({ began }) => began), 15_000)
    const start = performance.now()
    const timer = setTimeout(() => {
      timeUp.value = true
      for (const writer of writers) writer.stop()
    }, withinMs)
    const ends = await Promise.all(
      writers.map((writer) => writer.work(eventsPerPush).then(() => performance.now() - start)),
    )
    clearTimeout(timer)
    const landed = writers.reduce((sum, { own }) => sum + own.size, 0)
    const failures = writers.flatMap(({ failures }) => failures)
    for (const writer of writers) await writer.close()
    if (failures[0] !== undefined) round.problem(`${failures.length} pushes errored, the first with: ${failures[0]}`)
    const byServer = await refusedByServer(round, 'contended')
    const counts = {
      refused: writers.reduce((sum, { refused }) => sum + refused, 0),
      failed: failures.length,
      ...(byServer === undefined ? {} : { byServer, perPush: (byServer * eventsPerPush) / Math.max(landed, 1) }),
    }
    if (landed < size * events) {
      round.problem(`not done after ${withinMs / 1_000} s: ${landed} of ${size * events} events`)
      return counts
    }
    await verify(round, 'contended', landed)
    return { ...counts, total: Math.max(...ends) / 1_000, spread: Math.max(...ends) / Math.min(...ends) }
  },
})

export const contentionOne = contention('e', 1)
export const contentionTen = contention('e10', 10)

/**
 * The pushes that the Worker and the Sequencer refused. A provider refuses a push itself if it knows that the server would. Such
 * a refusal costs the server nothing. Only Headwater's Worker counts; its inspector shows the counts.
 */
async function refusedByServer({ endpoint }: Round, storeId: string): Promise<number | undefined> {
  if (!['headwater', 'headwater-built-in', 'headwater-hybrid'].includes(endpoint.system)) return undefined
  const answer = await fetch(`${endpoint.workerUrl}/inspect/api/default/${storeId}`)
  const { store, refused } = (await answer.json()) as { store: { pushes: Pushes | null }; refused: Pushes | null }
  const counts = [...(store.pushes?.counts ?? []), ...(refused?.counts ?? [])]
  return counts.filter(([outcome]) => outcome === 'server-ahead').reduce((sum, [, pushes]) => sum + pushes, 0)
}

interface Pushes {
  readonly counts: readonly (readonly [outcome: string, pushes: number])[]
}

class Writer {
  /** This writer's events that are known to be in the log, because they were acknowledged or pulled. */
  readonly own = new Set<number>()
  readonly failures: string[] = []
  began = false
  refused = 0
  private readonly pulled = new ChainCheck()
  private readonly pull
  private ended: string | undefined
  private wake = () => {}
  private stopPush = () => {}
  private readonly client: Client
  private readonly id: string
  private readonly events: number
  private readonly timeUp: { readonly value: boolean }

  constructor(client: Client, id: string, events: number, timeUp: { readonly value: boolean }) {
    this.client = client
    this.id = id
    this.events = events
    this.timeUp = timeUp
    this.pull = client.pull((events) => this.onPulled(events), { live: true })
    void this.pull.ended.then((error) => (this.ended = error ?? 'the pull ended'))
  }

  private onPulled(events: readonly Event[]): void {
    this.began = true
    this.pulled.take(events)
    for (const { clientId, seqNum } of events) if (clientId === this.id) this.own.add(seqNum)
    if (events.some(({ clientId }) => clientId !== this.id)) this.stopPush()
    this.wake()
  }

  async work(eventsPerPush: number): Promise<void> {
    let head = 0
    while (this.own.size < this.events && !this.timeUp.value) {
      head = Math.max(head, this.pulled.head)
      const batch = chain(head, Math.min(eventsPerPush, this.events - this.own.size), this.id)
      const stop = new AbortController()
      this.stopPush = () => stop.abort()
      const outcome = await this.client.push(batch, stop.signal)
      this.stopPush = () => {}
      if (outcome._tag === 'accepted') {
        for (const { seqNum } of batch) this.own.add(seqNum)
        head += batch.length
      } else if (outcome._tag === 'interrupted') {
        // The pull has brought what the batch must follow, or the batch itself.
      } else if (outcome._tag === 'refused') {
        this.refused += 1
        await this.pulledPast(head)
      } else {
        this.failures.push(outcome.reason)
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
  }

  private async pulledPast(head: number): Promise<void> {
    while (this.pulled.head <= head && !this.timeUp.value) {
      if (this.ended !== undefined) throw new Error(`a live pull ended: ${this.ended}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 250)
        this.wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** Gives up the push that is under way. */
  stop(): void {
    this.stopPush()
    this.wake()
  }

  async close(): Promise<void> {
    await this.pull.stop()
    await this.client.close()
  }
}
