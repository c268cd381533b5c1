// Measures a push onto 0 to 1,000,000 events.
import { fenceHeader, headerMessage, JSON_TYPE } from '../../client/src/protocol/index.js'
import { open } from '../client.ts'
import { chain } from '../events.ts'
import { percentile, pushAccepted } from '../scenarios/scenario.ts'
import type { Endpoint } from '../systems/model.ts'
import { bytesIn, type Figure, withHeadwater } from './measure.ts'

/** Some 0.5 MB: a push may have at most 1 MiB. */
const EVENTS_PER_APPEND = 2_000

/**
 * The logs are written straight to the upstream. Therefore the Sequencer has no row for the log, as after a loss of its
 * storage. When a client connects and pushes, it reads the log once, which is timed, too.
 */
export async function history(quick: boolean): Promise<Figure[]> {
  return withHeadwater(({ endpoint }) => pushesOnto(endpoint, quick, writeToUpstream, 'connect and push, storage lost'))
}

/** Measures pushes onto a built-in log, and the room that it takes. */
export async function builtIn(quick: boolean): Promise<Figure[]> {
  const options = { system: 'headwater-built-in', vars: { MAX_BATCH_EVENTS: String(EVENTS_PER_APPEND) } } as const
  return withHeadwater(async ({ endpoint }, folder) => {
    const figures: Figure[] = []
    for (const [perPush, events] of [
      [1, quick ? 2_000 : 50_000],
      [100, quick ? 10_000 : 500_000],
    ] as const) {
      // The write-ahead log does not grow with the store
      const takes = () => bytesIn(folder, '.sqlite')
      const before = await takes()
      const own = await writeByPushes(endpoint, `room-${perPush}`, events, perPush)
      figures.push({
        what: `bytes on disk / the events’ own, pushes of ${perPush}`,
        value: ((await takes()) - before) / own,
        unit: '×',
        target: 1.3,
      })
    }
    const write: Write = async (...store) => void (await writeByPushes(...store, EVENTS_PER_APPEND))
    figures.push(...(await pushesOnto(endpoint, quick, write, 'connect and push')))
    return figures.map((figure) => ({ ...figure, what: `built-in log: ${figure.what}` }))
  }, options)
}

type Write = (endpoint: Endpoint, storeId: string, length: number) => Promise<void>

async function pushesOnto(endpoint: Endpoint, quick: boolean, write: Write, first: string): Promise<Figure[]> {
  const lengths = quick ? [0, 10_000] : [0, 1_000, 10_000, 100_000, 1_000_000]
  const figures: Figure[] = []
  const stores = []
  for (const length of lengths) {
    const storeId = `history-${length}`
    if (length > 0) await write(endpoint, storeId, length)
    const begin = performance.now()
    const client = await open(endpoint, storeId)
    await pushAccepted(client, chain(length, 1))
    figures.push({
      what: `${first}, ${length.toLocaleString('en')} events`,
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
}

/** Writes a log by pushes, and returns the bytes of its events as JSON. */
async function writeByPushes(
  { workerUrl }: Endpoint,
  storeId: string,
  length: number,
  perPush: number,
): Promise<number> {
  const url = `${workerUrl}/v1/stream/default/${storeId}`
  await send(url, 'PUT', undefined)
  let bytes = 0
  for (let head = 0; head < length; head += perPush) {
    const batch = JSON.stringify(chain(head, Math.min(perPush, length - head)))
    await send(url, 'POST', batch)
    bytes += batch.length
  }
  return bytes
}

/** Writes a log as Headwater does, with the header and the fences. */
export async function writeToUpstream({ upstreamUrl }: Endpoint, storeId: string, length: number): Promise<void> {
  const url = `${upstreamUrl}/default/${storeId}`
  await send(url, 'PUT', JSON.stringify(headerMessage(crypto.randomUUID())))
  for (let head = 0; head < length; head += EVENTS_PER_APPEND) {
    const batch = JSON.stringify(chain(head, Math.min(EVENTS_PER_APPEND, length - head)))
    await send(url, 'POST', batch, fenceHeader(head))
  }
}

async function send(url: string, method: string, body: string | undefined, headers = {}): Promise<void> {
  const init = body === undefined ? { method } : { method, body, headers: { ...JSON_TYPE, ...headers } }
  const answer = await fetch(url, init)
  if (!answer.ok) throw new Error(`${method} ${url} was answered ${answer.status}: ${await answer.text()}`)
  await answer.body?.cancel()
}
