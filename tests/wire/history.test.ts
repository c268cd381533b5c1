// Long histories at the default segment size: their cost for the upstream, and for the Worker's memory.
import { describe, expect, test } from 'vitest'
import { startRustUpstream } from '../harness/index.ts'
import { chain, pages, Store } from '../support/store.ts'
import { useParts } from './parts.ts'

const MIB = 1024 * 1024

/** Reads to the tail, and keeps nothing. */
const measure = async (store: Store, onPage: () => unknown = () => {}) => {
  let [bytes, count, tail] = [0, 0, 0]
  for await (const page of pages(store)) {
    tail = page.bytes
    bytes += tail
    count += 1
    await onPage()
  }
  return { bytes, pages: count, tail }
}

describe('a long history', () => {
  const parts = useParts(startRustUpstream)
  const sent = () => parts.proxy.requests.reduce((sum, _) => sum + _.sent, 0)

  test('of 20,000 events costs the upstream 1.5 times its bytes for the first client, and its tail for each of 99 more', async () => {
    const store = new Store(parts)
    for (let head = 0; head < 20_000; head += 100) await store.pushed(chain(head, 100, { text: 'x'.repeat(150) }))
    parts.proxy.clear()
    const first = await measure(store)
    const cold = sent()
    console.log(`first walk: ${first.pages} pages, ${first.bytes} bytes read, ${cold} sent by the upstream`)
    expect(first.pages).toBeGreaterThan(4)
    expect(cold).toBeLessThanOrEqual(1.5 * first.bytes)

    parts.proxy.clear()
    for (let client = 1; client < 100; client += 11) {
      const walks = await Promise.all(Array.from({ length: 11 }, () => measure(store)))
      for (const { bytes, tail } of walks) expect([bytes, tail]).toEqual([first.bytes, first.tail])
    }
    console.log(`99 more: ${sent()} sent, ${99 * first.tail} of it the unsealed tail`)
    expect(sent()).toBe(99 * first.tail)
  }, 120_000)

  test('of 200 MB passes in bounded memory', async () => {
    const store = new Store(parts)
    const args = { text: 'x'.repeat(10_000) }
    for (let head = 0; head < 20_000; head += 100) await store.pushed(chain(head, 100, args))
    const before = await parts.worker.memory()
    let most = 0
    const watch = async () => (most = Math.max(most, await parts.worker.memory()))
    for (const how of ['cold', 'warm']) {
      const { bytes, pages } = await measure(store, watch)
      expect(bytes).toBeGreaterThan(200e6)
      const grown = (most - before) / MIB
      console.log(`${how}: ${bytes} bytes in ${pages} pages, workerd grew by ${grown.toFixed(1)} MiB at most`)
      expect(grown).toBeLessThan(64)
    }
  }, 180_000)
})
