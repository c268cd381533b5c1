// Measures the memory that a read of a long history takes, cold and then from the edge cache.
import { open } from '../client.ts'
import { chain } from '../events.ts'
import { pushAccepted } from '../scenarios/scenario.ts'
import type { Endpoint } from '../systems/model.ts'
import { type Figure, withHeadwater } from './measure.ts'
import { watchMemory } from './watch-memory.ts'

const EVENT_BYTES = 10_000
const EVENTS_PER_PUSH = 100

export async function memory(quick: boolean): Promise<Figure[]> {
  const megabytes = quick ? 20 : 200
  return withHeadwater(
    async (running) => {
      const { endpoint } = running
      await write(endpoint, megabytes)
      const watch = await watchMemory(running)
      const read = [await readAll(endpoint), await readAll(endpoint)]
      const { before, peak } = await watch.end()
      if (read.some((bytes) => bytes < megabytes * 0.98e6))
        throw new Error(`read ${read} bytes instead of ${megabytes} MB`)
      const what = `while ${megabytes} MB are read twice`
      return [
        { what: `isolate, peak ${what}`, value: peak.isolate, unit: 'MiB', target: 64 },
        { what: 'isolate, before', value: before.isolate, unit: 'MiB' },
        { what: `workerd, peak ${what}`, value: peak.resident, unit: 'MiB' },
        { what: 'workerd, before', value: before.resident, unit: 'MiB' },
      ]
    },
    { inspector: true },
  )
}

async function write(endpoint: Endpoint, megabytes: number): Promise<void> {
  const client = await open(endpoint, 'memory')
  const text = 'x'.repeat(EVENT_BYTES - 200)
  for (let head = 0; head < (megabytes * 1e6) / EVENT_BYTES; head += EVENTS_PER_PUSH) {
    await pushAccepted(
      client,
      chain(head, EVENTS_PER_PUSH).map((event) => ({ ...event, args: { text } })),
    )
  }
  await client.close()
}

/** Reads page by page, and keeps nothing. */
async function readAll({ workerUrl }: Endpoint): Promise<number> {
  let bytes = 0
  for (let offset = '-1'; ; ) {
    const answer = await fetch(`${workerUrl}/v1/stream/default/memory?offset=${offset}`)
    for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) bytes += chunk.length
    const next = answer.headers.get('stream-next-offset') ?? ''
    if (!answer.ok || next === '') throw new Error(`a read was answered ${answer.status}`)
    if (answer.headers.has('stream-up-to-date')) return bytes
    offset = next
  }
}
