// What a socket has brought, and what a pull takes of it.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Batch, makeFrameQueue } from '../../client/src/socket/frame-queue.ts'
import { numbers } from '../support/events.ts'
import { check } from '../support/random.ts'

/** The events from `parent` to `head`, each as its number. */
const batch = (parent: number, head: number, size = head - parent): Batch => ({
  parent,
  head,
  offset: `behind ${head}`,
  messages: numbers(parent + 1, head),
  size,
})

const taken = (parent: number, head: number) => ({ _tag: 'Batch', batch: batch(parent, head) })
const behind = (head: number) => ({ _tag: 'Behind', head })

/** A queue that has got these. A number is a head. */
const queueOf = (...frames: (Batch | number)[]) => {
  const queue = makeFrameQueue()
  for (const frame of frames) {
    if (typeof frame === 'number') queue.observeHead(frame)
    else queue.add(frame)
  }
  return queue
}

describe('a pull at event 3 takes', () => {
  test.each([
    ['nothing of an empty queue', [], undefined],
    ['a batch that links', [batch(3, 5)], taken(3, 5)],
    ['batches that link to one another, at once', [batch(3, 5), batch(5, 6), batch(6, 9)], taken(3, 9)],
    ['only what links, before a gap', [batch(3, 5), batch(7, 9)], taken(3, 5)],
    ['what follows the batches that it has', [batch(0, 2), batch(2, 3), batch(3, 4)], taken(3, 4)],
    ['nothing of what it has', [batch(0, 2), batch(2, 3)], undefined],
    ['a batch once, though it came twice', [batch(3, 5), batch(3, 5), batch(5, 6)], taken(3, 5)],
    ['the news that a batch is missing', [batch(5, 6)], behind(6)],
    ['the news that it has only a part of a batch', [batch(2, 5)], behind(5)],
    ['the news of a head', [8], behind(8)],
    ['nothing of a head that it has', [3], undefined],
    ['a batch before the news of a head', [batch(3, 5), 8], taken(3, 5)],
  ])('%s', (_, frames, expected) => {
    expect(queueOf(...frames).take(3)).toEqual(expected)
  })
})

test('a batch that came twice is taken once', () => {
  const queue = queueOf(batch(3, 5), batch(3, 5), batch(5, 6))
  expect([queue.take(3), queue.take(5), queue.take(6)]).toEqual([taken(3, 5), taken(5, 6), undefined])
})

test('a gap is reported once for each head, and what links to a catch-up is taken', () => {
  const queue = queueOf(batch(5, 6))
  expect([queue.take(3), queue.take(3), queue.take(4)]).toEqual([behind(6), undefined, undefined])
  queue.add(batch(6, 7))
  expect([queue.take(4), queue.take(4), queue.take(5)]).toEqual([behind(7), undefined, taken(5, 7)])
})

test('a pull that takes too little learns the head instead of a long list', () => {
  const queue = makeFrameQueue()
  for (const seqNum of numbers(0, 19)) queue.add(batch(seqNum, seqNum + 1, 1024 * 1024))
  expect(queue.head()).toBe(20)
  expect(queue.take(0)).toEqual(behind(20))
  // The ninth and the eighteenth exceeded the limit
  expect(queue.take(18)).toMatchObject({ batch: { parent: 18, head: 20 } })
})

test('what was taken leaves room', () => {
  const queue = makeFrameQueue()
  for (const seqNum of numbers(0, 99)) {
    queue.add(batch(seqNum, seqNum + 1, 1024 * 1024))
    expect(queue.take(seqNum)).toMatchObject({ batch: { parent: seqNum, head: seqNum + 1 } })
  }
})

test('property: every pull receives each event once and in order, and no gap stays unreported', () =>
  check(
    fc.property(
      fc.array(
        fc.record({
          /** The size of the next append. */
          append: fc.integer({ min: 1, max: 4 }),
          arrives: fc.constantFrom('batch', 'batch', 'batch', 'twice', 'head', 'nothing'),
          takes: fc.nat(3),
          /** How many appends a catch-up lacks. */
          lag: fc.nat(2),
        }),
        { maxLength: 60 },
      ),
      (steps) => {
        const queue = makeFrameQueue()
        const heads = [0]
        const received: number[] = []
        let told = 0
        let wanted = 0
        const at = () => received.at(-1) ?? 0
        const catchUp = (to: number) => received.push(...numbers(at() + 1, to))
        const take = (lag: number) => {
          const found = queue.take(at())
          if (found?._tag === 'Batch') {
            expect(found.batch.parent).toBe(at())
            expect(found.batch.messages).toEqual(numbers(found.batch.parent + 1, found.batch.head))
            received.push(...(found.batch.messages as number[]))
          } else if (found?._tag === 'Behind') {
            // Never twice for one head, or a lagging server would be asked without end
            expect(found.head).toBeGreaterThan(wanted)
            expect(found.head).toBe(told)
            wanted = found.head
            catchUp(heads.at(-1 - lag) ?? 0)
          } else {
            expect(told).toBeLessThanOrEqual(Math.max(at(), wanted))
          }
          return found
        }
        for (const { append, arrives, takes, lag } of steps) {
          const parent = heads.at(-1) ?? 0
          const head = parent + append
          heads.push(head)
          if (arrives === 'head') queue.observeHead(head)
          if (arrives === 'batch' || arrives === 'twice') queue.add(batch(parent, head))
          if (arrives === 'twice') queue.add(batch(parent, head))
          if (arrives !== 'nothing') told = head
          for (let i = 0; i < takes; i++) take(lag)
        }
        while (take(0) !== undefined) {}
        // A catch-up that lagged is repeated by the pull, which knows its target
        if (at() < wanted) catchUp(wanted)
        while (take(0) !== undefined) {}
        expect(at()).toBeGreaterThanOrEqual(told)
        expect(received).toEqual(numbers(1, at()))
      },
    ),
    1_000,
  ))
