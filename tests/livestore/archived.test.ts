// A user's view of a store that is archived, and of live reads that a reset ends.
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { CommonOptions } from '../../client/src/index.ts'
import type { LiveMode } from '../../client/src/reading/live-mode.ts'
import { eventually } from '../support/wait.ts'
import { type Parts, startParts, timed } from './parts.ts'
import { makeScene, type Scene, whole } from './scene.ts'
import { notesOf } from './support.ts'

let parts: Parts

beforeAll(async () => {
  parts = await startParts()
})
afterAll(() => parts?.stop())

const live = (mode: LiveMode): Pick<CommonOptions, 'live' | 'retry'> => ({
  // The defaults, so that no renewal helps within the time of a test
  live: { mode },
  retry: {},
})

describe.each(['websocket', 'sse', 'long-poll'] as const)('live by %s', (mode) => {
  test('an archived store names the problem to a device that writes, and all others go on reading', async ({
    onTestFinished,
  }) => {
    const scene = makeScene(parts)
    onTestFinished(scene.close)
    const open = (name: string) => scene.open(name, { sync: live(mode) })
    const [a, b] = await Promise.all([open('a'), open('b')])
    a.note(2)
    await whole([a, b], 2)
    const store = parts.atWorker(scene.storeId)
    expect((await store.request('POST', { headers: { 'stream-closed': 'true' } })).status).toBe(204)

    a.network.clear()
    b.network.clear()
    a.note(3)
    await eventually(
      'a names the problem',
      () => a.badge.shows()?.kind === 'closed',
      () => [a.status(), a.badge.told],
      5_000,
    )
    const c = await open('c')
    await eventually(
      'c has read the store',
      () => c.count() === 2,
      () => c.status(),
      5_000,
    )
    expect(a.badge.shows()).toMatchObject({ kind: 'closed', status: 409, detail: expect.stringContaining('archived') })
    expect(a.badge.shows()).not.toHaveProperty('retryAfterMs')
    expect([a.count(), a.pending(), a.isConnected()]).toEqual([5, 3, true])
    expect([b.count(), b.badge.shows(), b.isConnected()]).toEqual([2, undefined, true])
    // LiveStore repeats the push, with its backoff
    expect(a.network.requests.length).toBeLessThan(40)
    expect(b.network.requests.length).toBeLessThan(20)
    const { events, notesOf: logged } = await scene.log()
    expect([events, logged('a')]).toEqual([2, notesOf('a', 2)])
  })

  test.each([
    ['a reset', (scene: Scene) => parts.atWorker(scene.storeId).request('DELETE')],
    [
      'a deletion for good',
      async (scene: Scene) => (await parts.atWorker(scene.storeId).currentIncarnation()).request('DELETE'),
    ],
  ])('a device hears of %s by its next catch-up, or at once by its socket', async (what, end) => {
    const scene = makeScene(parts)
    onTestFinished(scene.close)
    const sync = mode === 'websocket' ? live(mode) : { ...live(mode), live: { mode, renewInterval: 2_000 } }
    const a = await scene.open('a', { sync })
    a.note(2)
    await whole([a], 2)
    let reason = ''
    void a.ended.then((_) => (reason = String(_)))
    const ms = await timed(async () => {
      expect((await end(scene)).status).toBe(204)
      await eventually(
        'the end of a',
        () => reason !== '',
        () => [a.status(), a.badge.told],
        10_000,
      )
    })
    console.log(`live by ${mode}: a device heard of ${what} after ${Math.round(ms)} ms`)
    expect(reason).toContain('backend-id-mismatch')
  })
})
