// Measures a push onto 0 to 1,000,000 events. They are written straight to the upstream. Therefore the Sequencer has no row
// for the log, as after a loss of its storage. When a client connects and pushes, it reads the log once, which is timed, too.
import { fenceHeader, headerMessage, JSON_TYPE } from '../../client/src/protocol/index.js'
import { open } from '../client.ts'
import { chain } from '../events.ts'
import { percentile, pushAccepted } from '../scenarios/scenario.ts'
import type { Endpoint } from '../systems/model.ts'
import { type Figure, withHeadwater } from './measure.ts'

const EVENTS_PER_APPEND = 5_000

export async function history(quick: boolean): Promise<Figure[]> {
  const lengths = quick ? [0, 10_000] : [0, 1_000, 10_000, 100_000, 1_000_000]
  return withHeadwater(async ({ endpoint }) => {
    const figures: Figure[] = []
    const stores = []
    for (const length of lengths) {
      const storeId = `history-${length}`
      if (length > 0) await write(endpoint, storeId, length)
      const begin = performance.now()
      const client = await open(endpoint, storeId)
      await pushAccepted(client, chain(length, 1))
      figures.push({
        what: `connect and push, storage lost, ${length.toLocaleString('en')} events`,
        value: performance.now() - begin,
        unit: 'ms',
      })
      stores.push({ length, client, head: length + 1, times: [] as number[] })
    }
    // The stores take turns, so that other load on the machine affects all of them
    const pushes = quick ? 100 : 500
    for (let i = 0; i < pushes; i++)
      for (const store of stores) store.times.push(await pushAccepted(store.client, chain(store.head++, 1)))
    for (const { client } of stores) await client.close()
    const p50s = stores.map(({ times }) => percentile(times.slice(pushes / 5), 50))
    stores.forEach(({ length }, i) =>
      figures.push({ what: `push p50 at ${length.toLocaleString('en')} events`, value: p50s[i] ?? 0, unit: 'ms' }),
    )
    const most = lengths.at(-1) ?? 0
    figures.push({
      what: `push p50 at ${most.toLocaleString('en')} / at 0`,
      value: (p50s.at(-1) ?? 0) / (p50s[0] ?? 0),
      unit: '×',
      target: 1.2,
    })
    return figures
  })
}

/** Writes a log as Headwater does, with the header and the fences. */
async function write({ upstreamUrl }: Endpoint, storeId: string, length: number): Promise<void> {
  const url = `${upstreamUrl}/default/${storeId}`
  const send = async (method: string, body: unknown, headers = {}) => {
    const answer = await fetch(url, { method, headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`the upstream answered ${answer.status}: ${await answer.text()}`)
    await answer.body?.cancel()
  }
  await send('PUT', headerMessage(crypto.randomUUID()))
  for (let head = 0; head < length; head += EVENTS_PER_APPEND) {
    await send('POST', chain(head, Math.min(EVENTS_PER_APPEND, length - head)), fenceHeader(head))
  }
}
