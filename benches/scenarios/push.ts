// (a) one event a push, (b) a hundred, (h) a push that is refused.
import { chain } from '../events.ts'
import { accepted, ms, percentile, rate, type Scenario, verify } from './scenario.ts'

export const single: Scenario = {
  id: 'a',
  title: (quick) => `push of 1 event, one at a time (${quick ? 200 : 1_000})`,
  metrics: [ms('p50'), ms('p95'), ms('p99')],
  async run(round) {
    const warmUp = round.quick ? 50 : 200
    const pushes = round.quick ? 200 : 1_000
    const client = await round.open('single')
    const times: number[] = []
    for (let head = 0; head < warmUp + pushes; head++) times.push(await accepted(client, chain(head, 1)))
    await client.close()
    await verify(round, 'single', warmUp + pushes)
    const counted = times.slice(warmUp)
    return { p50: percentile(counted, 50), p95: percentile(counted, 95), p99: percentile(counted, 99) }
  },
}

export const bulk: Scenario = {
  id: 'b',
  title: (quick) => `${quick ? '2,000' : '10,000'} events in pushes of 100`,
  metrics: [rate('rate', 'events/s'), ms('p50', 'a push, p50')],
  async run(round) {
    const total = round.quick ? 2_000 : 10_000
    const warm = await round.open('warm-up')
    for (let head = 0; head < 1_000; head += 100) await accepted(warm, chain(head, 100))
    await warm.close()
    const client = await round.open('bulk')
    const batches = Array.from({ length: total / 100 }, (_, i) => chain(i * 100, 100))
    const times: number[] = []
    const start = performance.now()
    for (const batch of batches) times.push(await accepted(client, batch))
    const took = performance.now() - start
    await client.close()
    await verify(round, 'bulk', total)
    return { rate: (total / took) * 1_000, p50: percentile(times, 50) }
  },
}

export const refused: Scenario = {
  id: 'h',
  title: () => 'a push that is refused (ServerAheadError)',
  metrics: [ms('p50'), ms('p95'), ms('accepted', 'an accepted one, p50')],
  not: (system) => (system === 'sync-s2' ? 'refuses nothing: it takes any batch, whatever its parent' : undefined),
  async run(round) {
    const pushes = round.quick ? 100 : 500
    const client = await round.open('refused')
    let head = 0
    const took = { accepted: [] as number[], refused: [] as number[] }
    for (let i = 0; i < pushes; i++) {
      took.accepted.push(await accepted(client, chain(head, 1)))
      head += 1
      if (head < 2) continue
      const late = chain(0, 1, 'late-client')
      const start = performance.now()
      const outcome = await client.push(late)
      took.refused.push(performance.now() - start)
      if (outcome._tag !== 'refused') throw new Error(`a push on a parent that was passed was ${outcome._tag}`)
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
