// A user's view of a store whose log moves to another place, or comes back from a file. No device starts over, and none loses an event.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { makeFolder, removeFolder } from '../harness/index.ts'
import { runScript } from '../support/run-script.ts'
import { type Parts, startParts } from './parts.ts'
import { type Device, makeScene, whole } from './scene.ts'
import { notesOf } from './support.ts'

let parts: Parts
let folder: string

beforeAll(async () => {
  parts = await startParts()
  folder = await makeFolder('places')
})
afterAll(async () => {
  await parts?.stop()
  await removeFolder(folder)
})

/** The scene ends a store that starts over: `agree` would not see it. */
const neverEnds = (devices: readonly Device[]) => {
  const ends: unknown[] = []
  for (const device of devices) void device.ended.then((reason) => ends.push(reason))
  return ends
}

test.each(['websocket', 'sse', 'long-poll'] as const)(
  'two devices by %s go on while their log moves into the Durable Object and back',
  async (mode) => {
    const scene = makeScene(parts)
    onTestFinished(scene.close)
    const open = (name: string) => scene.open(name, { sync: { live: { mode, renewInterval: 2_000 } } })
    const devices = await Promise.all([open('a'), open('b')])
    const ends = neverEnds(devices)
    const [a, b] = devices
    const notes = { a: 0, b: 0 }
    const note = (device: typeof a, count: number) => {
      device.note(count)
      notes[device === a ? 'a' : 'b'] += count
    }
    note(a, 1)
    await whole(devices, 1)
    for (const [to, writer, other] of [
      ['built-in', a, b],
      ['upstream', b, a],
    ] as const) {
      // One device at a time: two that commit all the time hold each other up in LiveStore, with any backend
      const writing = setInterval(() => note(writer, 1), 20)
      await runScript('move', parts.atWorker(scene.storeId).url, '--to', to)
      clearInterval(writing)
      note(writer, 1)
      await whole(devices, notes.a + notes.b)
      note(other, 3)
      await whole(devices, notes.a + notes.b)
    }
    const { notesOf: logged } = await scene.log()
    expect([logged('a'), logged('b')]).toEqual([notesOf('a', notes.a), notesOf('b', notes.b)])
    expect(ends).toEqual([])
  },
  60_000,
)

test('two devices go on when their store was exported, deleted and imported', async () => {
  const scene = makeScene(parts)
  onTestFinished(scene.close)
  const devices = await Promise.all([scene.open('a'), scene.open('b')])
  const ends = neverEnds(devices)
  for (const device of devices) device.note(50)
  await whole(devices, 100)
  const file = join(folder, 'export.jsonl')
  const store = parts.atWorker(scene.storeId)
  for (const device of devices) device.network.setOnline(false)
  const lines = await runScript('export', store.url)
  await writeFile(file, lines)
  expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
  for (const device of devices) device.note(3)
  await runScript('import', store.url, file)
  expect(await runScript('export', store.url)).toBe(lines)
  for (const device of devices) device.network.setOnline(true)
  await whole(devices, 106)
  const { notesOf: logged } = await scene.log()
  expect([logged('a'), logged('b')]).toEqual([notesOf('a', 53), notesOf('b', 53)])
  expect(ends).toEqual([])
}, 60_000)
