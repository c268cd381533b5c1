// Histories in small segments, and reading them page by page.
import { expect } from 'vitest'
import { chain, type Event, type Parts, Store } from './support.ts'

/** Small segments, so that a short history has many. */
export const SIZE = { SEGMENT_BYTES: '2000', SEGMENT_EVENTS: '20' }

export interface Page {
  readonly from: string
  readonly next: string
  readonly cache: string | null
  readonly upToDate: boolean
  readonly events: Event[]
  readonly headers: Headers
  readonly bytes: number
}

export const page = async (store: Store, query: string): Promise<Page> => {
  const response = await store.read(query)
  if (response.status !== 200) throw new Error(`${query}: ${response.status} ${await response.text()}`)
  const text = await response.text()
  return {
    from: query,
    next: response.headers.get('stream-next-offset') ?? '',
    cache: response.headers.get('x-cache'),
    upToDate: response.headers.has('stream-up-to-date'),
    events: (JSON.parse(text) as Event[]).filter((message) => !('livestore' in message)),
    headers: response.headers,
    bytes: Buffer.byteLength(text),
  }
}

/** Page by page to the tail, as every client does. */
export const walk = async (store: Store, query = 'offset=-1'): Promise<Page[]> => {
  const pages = [await page(store, query)]
  for (let last = pages[0]; last !== undefined && !last.upToDate; last = pages.at(-1)) {
    expect(last.next).not.toBe(last.from)
    pages.push(await page(store, `offset=${last.next}`))
  }
  return pages
}

export const seqs = (pages: readonly Page[]) => pages.flatMap((_) => _.events.map((event) => event.seqNum))
export const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
export const caches = (pages: readonly Page[]) => pages.map((_) => _.cache)

/** A store with a history of so many events, a few in each push. Says where each push ended. */
export const filled = async (parts: Parts, events: number, perPush = 7, args?: unknown) => {
  const store = new Store(parts)
  const ends: { head: number; offset: string }[] = []
  for (let head = 0; head < events; ) {
    const count = Math.min(perPush, events - head)
    const response = await store.pushed(chain(head, count, args))
    head += count
    ends.push({ head, offset: response.headers.get('stream-next-offset') ?? '' })
  }
  return { store, ends }
}
