// Events that can't be pushed hold back only the events behind them, stay out of the shared log, and are named.
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { eventually } from '../support/wait.ts'
import { type Parts, startParts } from './parts.ts'
import { type Device, makeScene, whole } from './scene.ts'
import { events, notesOf } from './support.ts'

let parts: Parts

beforeAll(async () => {
  parts = await startParts()
})
afterAll(() => parts?.stop())

const nested = (depth: number): unknown => (depth === 0 ? 'end' : [nested(depth - 1)])

const noted = (n: number) => events.noted({ id: `a-${n}`, writer: 'a', slot: n % 7 })

const named = (device: Device, seqNum: number, meanwhile: () => boolean = () => true) =>
  eventually(
    `${device.name} names event ${seqNum}`,
    () =>
      meanwhile() &&
      device.badge.told.some((problem) => problem?.kind === 'event-not-pushable' && problem.seqNum === seqNum),
    () => [device.status(), device.badge.told],
    5_000,
  )

describe.concurrent('one event of a commit', () => {
  test.for<[string, unknown]>([
    ['of 1.2 MB', { text: 'x'.repeat(1_200_000) }],
    ['with args 600 deep', nested(600)],
  ])(
    '%s: the five before it arrive, the problem names it, and others’ events still come',
    async ([, args], { expect, onTestFinished }) => {
      const scene = makeScene(parts)
      onTestFinished(scene.close)
      const [a, b] = await Promise.all([scene.open('a'), scene.open('b')])
      a.note(1)
      await whole([a, b], 1)

      a.store.commit(...[2, 3, 4, 5, 6].map(noted), events.kept(args))
      await named(a, 7, () => b.count() === 6)
      const problem = a.badge.told.find((_) => _?.seqNum === 7)
      expect(problem).toEqual({ kind: 'event-not-pushable', detail: expect.stringMatching(/\w+/), seqNum: 7 })

      a.store.commit(noted(7))
      b.note(1)
      await eventually(
        'b’s note at a',
        () => a.count() === 8,
        () => [a.status(), a.badge.told],
        5_000,
      )
      // The event, and the events behind it
      expect(a.pending()).toBe(2)
      const { events: inLog, notesOf: logged } = await scene.log()
      expect([inLog, logged('a'), logged('b')]).toEqual([7, notesOf('a', 6), notesOf('b', 1)])
    },
  )
})

// LiveStore's own equality of args fails for these, whatever the backend: its session and leader rebase the event forever, or
// the store ends. The provider guarantees that the event does not leave the device.
describe('an event whose args have a key of their own that is called', () => {
  test.for<[string, unknown]>([
    ['constructor', { race: 'Monza', constructor: { name: 'F' } }],
    ['toString', { toString: 'x' }],
    ['valueOf', { nested: [{ valueOf: 1 }] }],
  ])(
    '%s: the log stays clean, earlier events arrive, and the problem names it',
    async ([, args], { expect, onTestFinished }) => {
      const scene = makeScene(parts)
      onTestFinished(scene.close)
      const directory = join(parts.disks, scene.storeId)
      const [a, b] = await Promise.all([scene.open('a', { directory }), scene.open('b')])
      a.note(1)
      await whole([a, b], 1)
      let ended = false
      void a.ended.then(() => (ended = true))

      a.store.commit(noted(2), noted(3), events.kept(args))
      await eventually(
        'named, or the store ended',
        () => ended || a.badge.told.length > 0,
        () => [a.status(), a.badge.told],
        5_000,
      )
      await scene.stop(a).catch(() => {})

      // After a new boot the leader still has it, and no session disagrees
      const again = await scene.open('a', { directory })
      await named(again, 4, () => b.count() === 3)
      b.note(1)
      await eventually(
        'b’s note at a',
        () => again.count() === 4,
        () => [again.status(), again.badge.told],
        5_000,
      )
      const { events: inLog, notesOf: logged } = await scene.log()
      expect([inLog, logged('a'), logged('b')]).toEqual([4, notesOf('a', 3), notesOf('b', 1)])
    },
  )

  test('constructor: the log stays clean though the device rebases the event forever', async ({
    expect,
    onTestFinished,
  }) => {
    const scene = makeScene(parts)
    onTestFinished(scene.close)
    const [a, b] = await Promise.all([scene.open('a'), scene.open('b')])
    a.store.commit(noted(1), noted(2), events.kept({ constructor: { name: 'F' } }))
    await named(a, 3, () => b.count() === 2)
    expect((await scene.log()).events).toBe(2)
  })
})
