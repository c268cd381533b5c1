// A `fetch` that is not the browser's own: React Native's, whose responses have no body to stream, and a cache-first service
// worker's, which answers from its cache.
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { eventually } from '../support/wait.ts'
import { type Parts, startParts } from './parts.ts'
import { makeScene, whole } from './scene.ts'
import { notesOf } from './support.ts'

let parts: Parts

beforeAll(async () => {
  parts = await startParts()
})
afterAll(() => parts?.stop())

/** Resolves when the whole response has arrived. `text()` and the like work then, and `body` is missing. */
const withoutBodies =
  (body: undefined | null): typeof fetch =>
  async (input, init) => {
    const response = await fetch(input, init)
    const { status, statusText, headers, url, redirected } = response
    const bytes = await response.arrayBuffer()
    const whole = new Response(bytes.byteLength === 0 ? null : bytes, { status, statusText, headers })
    return Object.defineProperties(whole, {
      body: { value: body },
      url: { value: url },
      redirected: { value: redirected },
    })
  }

describe.concurrent('a fetch whose responses have no body', () => {
  test.for([undefined, null])(
    'but %s: live pulls use long-poll, in both directions, without wasted requests',
    async (body, { expect, onTestFinished }) => {
      const scene = makeScene(parts)
      onTestFinished(scene.close)
      const live = { firstByteTimeout: 300 }
      const [a, b] = await Promise.all([
        scene.open('a', { sync: { fetch: withoutBodies(body), live } }),
        scene.open('b'),
      ])
      a.note(1)
      await whole([a, b], 1)
      for (let round = 1; round <= 3; round++) {
        b.note(1)
        await whole([a, b], 2 * round)
        a.note(1)
        await whole([a, b], 2 * round + 1)
      }
      const { events, notesOf: logged } = await scene.log()
      expect([events, logged('a'), logged('b')]).toEqual([7, notesOf('a', 4), notesOf('b', 3)])
      expect(a.network.count({ live: 'long-poll' })).toBeGreaterThan(2)
      // The provider may need two requests to learn that no stream comes
      expect(a.network.count({ live: 'sse' })).toBeLessThanOrEqual(2)
      expect(a.network.count({ method: 'GET' })).toBeLessThan(30)
      expect(a.badge.told.filter((_) => _ !== undefined)).toEqual([])
    },
  )
})

/** Answers every repeated GET from its cache, whatever the request's cache mode. */
const makeCacheFirst = (): typeof fetch => {
  const kept = new Map<string, Response>()
  return async (input, init) => {
    // A device that boots again has another port for the same Worker
    const { pathname, search, searchParams } = new URL(String(input))
    const key = `${pathname}${search}`
    if ((init?.method ?? 'GET') !== 'GET') return fetch(input, init)
    const had = kept.get(key)
    if (had !== undefined) return had.clone()
    const response = await fetch(input, init)
    // A live read has no end, so it can't be kept
    if (response.ok && !searchParams.has('live')) kept.set(key, response.clone())
    return response
  }
}

test('a cache-first service worker keeps the first page over a reset: the store resets once and is in sync', async ({
  expect,
  onTestFinished,
}) => {
  const scene = makeScene(parts)
  onTestFinished(scene.close)
  const directory = join(parts.disks, scene.storeId)
  const serviceWorker = makeCacheFirst()
  const boot = (name: string, own: { fetch?: typeof fetch } = {}) =>
    scene.open(name, { directory, onBackendIdMismatch: 'reset', sync: { live: { renewInterval: 500 }, ...own } })
  const w = await scene.open('w')
  w.note(3)
  await whole([w], 3)
  await scene.stop(w)
  const a = await boot('a', { fetch: serviceWorker })
  a.note(1)
  await whole([a], 4)

  await parts.atWorker(scene.storeId).request('DELETE')
  expect(String(await a.ended)).toContain('backend-id-mismatch')
  await scene.stop(a).catch(() => {})

  const [a2, b] = await Promise.all([boot('a', { fetch: serviceWorker }), boot('b')])
  let resets = 0
  void a2.ended.then(() => resets++)
  b.note(2)
  await eventually(
    'b’s notes at a',
    () => a2.count() === 2,
    () => [
      a2.status(),
      a2.badge.told,
      a2.network.requests.slice(-8).map((_) => [_.method, _.path, `${_.query}`, _.status]),
    ],
    8_000,
  )
  a2.note(1)
  await whole([a2, b], 3)
  expect(resets).toBe(0)
  const { events, notesOf: logged } = await scene.log()
  expect([events, logged('a'), logged('b')]).toEqual([3, notesOf('a', 1), notesOf('b', 2)])
})
