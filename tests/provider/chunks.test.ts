// A push is cut to the limits, and the sizes are those of the wire.
import { Either } from 'effect'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoffDelay } from '../../client/src/backoff.ts'
import { chunkBatch } from '../../client/src/push.ts'
import { check, type Event, eventsFrom } from './support/events.ts'

const bytes = (text: string) => Buffer.byteLength(text)

describe('chunks', () => {
  test('property: in order, complete, within both limits, and no two that would fit in one', () =>
    check(fc.property(
      fc.array(fc.string({ unit: 'grapheme', maxLength: 60 }), { maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 400, max: 2_000 }),
      (texts, maxBatchEvents, maxBatchBytes) => {
        const events = texts.flatMap((text, i) => eventsFrom(i, 1, { text }))
        const cut = Either.getOrThrow(chunkBatch(events, { maxBatchEvents, maxBatchBytes }))
        const bodies = cut.map(({ body }) => body)
        const chunks = bodies.map((body) => JSON.parse(body) as Event[])
        expect(cut.map((_) => _.events)).toEqual(chunks)
        expect(chunks.flat()).toEqual(events)
        for (const [i, chunk] of chunks.entries()) {
          expect(chunk.length).toBeGreaterThan(0)
          expect(chunk.length).toBeLessThanOrEqual(maxBatchEvents)
          expect(bytes(bodies[i]!)).toBeLessThanOrEqual(maxBatchBytes)
          const following = chunks[i + 1]?.[0]
          if (following !== undefined && chunk.length < maxBatchEvents) {
            expect(bytes(bodies[i]!) + 1 + bytes(JSON.stringify(following))).toBeGreaterThan(maxBatchBytes)
          }
        }
      },
    )))

  test('exactly at the limit passes, one byte over is named', () => {
    const [event] = eventsFrom(41, 1)
    const size = bytes(JSON.stringify([event]))
    expect(Either.isRight(chunkBatch([event!], { maxBatchEvents: 1, maxBatchBytes: size }))).toBe(true)
    expect(chunkBatch([event!], { maxBatchEvents: 1, maxBatchBytes: size - 1 })).toEqual(
      Either.left({ seqNum: 42, bytes: size, maxBatchBytes: size - 1 }),
    )
  })

  test('nothing in, nothing out', () => {
    expect(chunkBatch([], { maxBatchEvents: 1, maxBatchBytes: 1 })).toEqual(Either.right([]))
  })
})

test('property: the delay doubles up to its limit, half of it random', () =>
  check(fc.property(fc.integer({ min: 1, max: 100 }), (failures) => {
    const full = Math.min(10_000, 100 * 2 ** (failures - 1))
    const delay = backoffDelay(failures, { initialDelay: 100, maxDelay: 10_000 })
    expect(delay).toBeGreaterThanOrEqual(full / 2)
    expect(delay).toBeLessThanOrEqual(full)
  })))
