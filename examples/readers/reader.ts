// Follows a store across resets, and prints each event once: node reader.ts <store URL> [token]
import { setTimeout as sleep } from 'node:timers/promises'
import { stream } from '@durable-streams/client'

const [store = '', token] = process.argv.slice(2)
const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
const isGone = (error: unknown) => [404, 410].includes((error as { status: number }).status)

/** The address of the store's log. No other log can answer there. */
async function addressOfLog(): Promise<string> {
  const { ok, status, headers: told } = await fetch(store, { method: 'HEAD', headers })
  if (!ok && status < 500 && status !== 429) throw new Error(`${store} answers ${status}`)
  const path = told.get('content-location')
  if (path !== null) return new URL(path, store).href
  await sleep(1_000) // no log yet, or no answer
  return addressOfLog()
}

/** Prints the events behind the offset, and returns the last offset once the log is closed. */
async function follow(url: string, offset: string): Promise<string> {
  const log = await stream<{ livestore?: unknown }>({ url, offset, headers, live: true })
  log.subscribeJson(({ items }) => {
    for (const item of items) if (item.livestore === undefined) console.log(JSON.stringify(item))
  })
  await log.closed
  return log.offset
}

for (let url = await addressOfLog(), offset = '-1'; ; ) {
  try {
    offset = await follow(url, offset)
    await sleep(1_000) // archived
  } catch (error) {
    if (!isGone(error)) throw error
    console.log('--- the store was reset, and its new log begins')
    ;[url, offset] = [await addressOfLog(), '-1']
  }
}
