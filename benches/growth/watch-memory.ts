// Watches the memory of the Worker's isolate, by its V8 inspector, and of the whole process, which includes the edge cache.
import { setTimeout as sleep } from 'node:timers/promises'
import { residentMiB } from '../processes.ts'
import type { Running } from '../systems/start.ts'

/** In MiB. */
interface Memory {
  readonly isolate: number
  readonly resident: number
}

export interface MemoryWatch {
  end(): Promise<{ readonly before: Memory; readonly peak: Memory }>
}

/** The Worker must have been started with its inspector. */
export async function watchMemory({ processes, inspectorUrl }: Running): Promise<MemoryWatch> {
  const inspector = await connectInspector(inspectorUrl ?? '')
  const read = async (): Promise<Memory> => ({
    isolate: await inspector.isolateMiB(),
    resident: await residentMiB(processes['workerd']),
  })
  const before = await read()
  let peak = before
  const done = new AbortController()
  const watching = (async () => {
    while (!done.signal.aborted) {
      const now = await read()
      peak = { isolate: Math.max(peak.isolate, now.isolate), resident: Math.max(peak.resident, now.resident) }
      await sleep(5)
    }
  })()
  return {
    async end() {
      done.abort()
      await watching
      inspector.close()
      return { before, peak }
    },
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
