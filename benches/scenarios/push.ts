// (a) Pushes of one event, (b) pushes of a hundred, (h) refused pushes.
import { chain } from '../events.ts'
import { ms, percentile, pushAccepted, rate, type Scenario, verify } from './scenario.ts'

export const single: Scenario = {
  id: 'a',
  title: (quick) => `push of 1 event, one at a time (${quick ? 200 : 1_000})`,
  metrics: [ms('p50'), ms('p95'), ms('p99')],
  async run(round) {
    const warmUp = round.quick ? 50 : 200
    const pushes = round.quick ? 200 : 1_000
    const client = await round.open('single')
    const times: number[] = []
    for (let head = 0; head < warmUp + pushes; head++) times.push(await pushAccepted(client, chain(head, 1)))
    await client.close()
    await verify(round, 'single', warmUp + pushes)
    const counted = times.slice(warmUp)
    return { p50: percentile(counted, 50), p95: percentile(counted, 95), p99: percentile(counted, 99) }
  },
}

export const bulk: Scenario = {
  id: 'b',
  title: (quick) => `${quick ? '2,000' : '10,000'} events in pushes of 100`,
  metrics: [rate('rate', 'events/s'), ms('p50', 'per push, p50')],
  async run(round) {
    const total = round.quick ? 2_000 : 10_000
    const warm = await round.open('warm-up')
    for (let head = 0; head < 1_000; head += 100) await pushAccepted(warm, chain(head, 100))
    await warm.close()
    const client = await round.open('bulk')
    const batches = Array.from({ length: total / 100 }, (_, i) => chain(i * 100, 100))
    const times: number[] = []
    const start = performance.now()
    for (const batch of batches) times.push(await pushAccepted(client, batch))
    const took = performance.now() - start
    await client.close()
    await verify(round, 'bulk', total)
    return { rate: (total / took) * 1_000, p50: percentile(times, 50) }
  },
}

export const refused: Scenario = {
  id: 'h',
  title: () => 'refused pushes (ServerAheadError)',
  metrics: [ms('p50'), ms('p95'), ms('accepted', 'accepted push, p50')],
  exclusion: (system) =>
    system === 'sync-s2' ? 'never refuses a push: it accepts any batch, whatever its parent' : undefined,
  async run(round) {
    const pushes = round.quick ? 100 : 500
    const client = await round.open('refused')
    let head = 0
    const took = { accepted: [] as number[], refused: [] as number[] }
    for (let i = 0; i < pushes; i++) {
      took.accepted.push(await pushAccepted(client, chain(head, 1)))
      head += 1
      if (head < 2) continue
      const late = chain(0, 1, 'late-client')
      const start = performance.now()
      const outcome = await client.push(late)
      took.refused.push(performance.now() - start)
      if (outcome._tag !== 'refused') throw new Error(`a push onto an old parent was ${outcome._tag}`)
    }
    await client.close()
    await verify(round, 'refused', head)
    const from = Math.floor(took.refused.length / 5)
    return {
      p50: percentile(took.refused.slice(from), 50),
      p95: percentile(took.refused.slice(from), 95),
      accepted: percentile(took.accepted.slice(from), 50),
    }
  },
}
