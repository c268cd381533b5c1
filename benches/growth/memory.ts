// Measures the memory that a read of a long history takes, cold and then from the edge cache. There are two figures: the
// Worker's isolate, by its V8 inspector, and the whole process, which includes the edge cache.
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from '../client.ts'
import { chain } from '../events.ts'
import { residentMiB } from '../processes.ts'
import { pushAccepted } from '../scenarios/scenario.ts'
import type { Endpoint } from '../systems/model.ts'
import { type Figure, withHeadwater } from './measure.ts'

const EVENT_BYTES = 10_000
const EVENTS_PER_PUSH = 100

export async function memory(quick: boolean): Promise<Figure[]> {
  const megabytes = quick ? 20 : 200
  return withHeadwater(
    async ({ endpoint, processes, inspectorUrl }) => {
      await write(endpoint, megabytes)
      const inspector = await connectInspector(inspectorUrl ?? '')
      const before = { resident: await residentMiB(processes['workerd']), isolate: await inspector.isolateMiB() }
      const peak = { ...before }
      const done = new AbortController()
      const watching = (async () => {
        while (!done.signal.aborted) {
          peak.resident = Math.max(peak.resident, await residentMiB(processes['workerd']))
          peak.isolate = Math.max(peak.isolate, await inspector.isolateMiB())
          await sleep(5)
        }
      })()
      const read = [await readAll(endpoint), await readAll(endpoint)]
      done.abort()
      await watching
      inspector.close()
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

interface Inspector {
  isolateMiB(): Promise<number>
  close(): void
}

async function connectInspector(url: string): Promise<Inspector> {
  const listed = (await (await fetch(new URL('/json', url))).json()) as Array<{
    id: string
    webSocketDebuggerUrl: string
  }>
  const socket = new WebSocket(listed.find(({ id }) => id.endsWith('worker'))?.webSocketDebuggerUrl ?? '')
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = reject
  })
  const waiting = new Map<number, (result: Record<string, number>) => void>()
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(String(data))
    waiting.get(id)?.(result)
    waiting.delete(id)
  }
  let asked = 0
  return {
    async isolateMiB() {
      const usage = await new Promise<Record<string, number>>((resolve) => {
        waiting.set(++asked, resolve)
        socket.send(JSON.stringify({ id: asked, method: 'Runtime.getHeapUsage' }))
      })
      // The heap's pages, the memory that it uses outside of them, and the buffers, which include Wasm's memory
      return (
        ((usage['totalSize'] ?? 0) + (usage['embedderHeapUsedSize'] ?? 0) + (usage['backingStorageSize'] ?? 0)) /
        2 ** 20
      )
    },
    close: () => socket.close(),
  }
}
