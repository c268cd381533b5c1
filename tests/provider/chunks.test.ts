// The provider cuts a push to the limits, in bytes as sent.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoffDelay } from '../../client/src/http/backoff.ts'
import { chunkBatch } from '../../client/src/writing/chunks.ts'
import { type Event, eventsFrom } from '../support/events.ts'
import { check } from '../support/random.ts'

const bytes = (text: string) => Buffer.byteLength(text)

describe('chunks', () => {
  test('property: chunks are in order, complete and within both limits, and no two would fit in one', () =>
    check(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme', maxLength: 60 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 400, max: 2_000 }),
        (texts, maxBatchEvents, maxBatchBytes) => {
          const events = texts.flatMap((text, i) => eventsFrom(i, 1, { text }))
          const { chunks: cut, obstacle } = chunkBatch(events, { maxBatchEvents, maxBatchBytes })
          expect(obstacle).toBeUndefined()
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
      ),
    ))

  test('an event exactly at the limit is cut, and one byte more makes an obstacle', () => {
    const [event] = eventsFrom(41, 1)
    const size = bytes(JSON.stringify([event]))
    expect(chunkBatch([event!], { maxBatchEvents: 1, maxBatchBytes: size })).toMatchObject({
      chunks: [{ events: [event] }],
      obstacle: undefined,
    })
    expect(chunkBatch([event!], { maxBatchEvents: 1, maxBatchBytes: size - 1 })).toEqual({
      chunks: [],
      obstacle: {
        seqNum: 42,
        why: `event 42 (v1.Noted) takes ${size} bytes, but a push may take at most ${size - 1} (push.maxBatchBytes)`,
      },
    })
  })

  test('an empty batch makes no chunks', () => {
    expect(chunkBatch([], { maxBatchEvents: 1, maxBatchBytes: 1 })).toEqual({ chunks: [], obstacle: undefined })
  })
})

describe('an event that can’t be pushed becomes the obstacle, behind chunks of everything before it', () => {
  const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as unknown
  /** The event itself and its args are two levels. */
  const DEEPEST = 498

  test.each([
    ['too large', { text: 'x'.repeat(3_000) }, /^event 4 \(v1\.Noted\) takes \d+ bytes/],
    ['nested too deeply', { deep: nested(DEEPEST + 1) }, /nested more than 500 levels/],
    ['that JSON can’t express', { big: 1n }, /can't be written as JSON/],
    ['with an object as constructor', { race: 'Monza', constructor: { name: 'F' } }, /the key "constructor"/],
    ['with a toString that is no function', { toString: 'x' }, /the key "toString"/],
    ['with a valueOf that is no function', { list: [{ valueOf: 1 }] }, /the key "valueOf"/],
  ])('%s', (_, args, why) => {
    const bad = { ...eventsFrom(3, 1)[0]!, args } as unknown as Event
    const { chunks, obstacle } = chunkBatch([...eventsFrom(0, 3), bad, ...eventsFrom(4, 2)], {
      maxBatchEvents: 2,
      maxBatchBytes: 2_000,
    })
    expect(chunks.flatMap((chunk) => chunk.events.map((event) => event.seqNum))).toEqual([1, 2, 3])
    expect(obstacle).toMatchObject({ seqNum: 4, why: expect.stringMatching(why) })
  })

  test.each([
    ['of the deepest nesting', { deep: nested(DEEPEST) }],
    ['with brackets in strings', { text: `${'[{'.repeat(600)}\\" "\\\\` }],
    ['with keys that resemble reserved ones', { Constructor: {}, to_string: 1, hasOwnProperty: 1, __proto__x: 1 }],
    ['with values that JSON drops', { a: undefined, b: Number.NaN, c: -0 }],
    ['with undefined args', undefined],
  ])('an event %s is no obstacle', (_, args) => {
    const event = { ...eventsFrom(0, 1)[0]!, args } as unknown as Event
    expect(chunkBatch([event], { maxBatchEvents: 1, maxBatchBytes: 1 << 20 }).obstacle).toBeUndefined()
  })
})

test('property: the backoff doubles up to its limit, and half of it is random', () =>
  check(
    fc.property(fc.integer({ min: 1, max: 100 }), (failures) => {
      const full = Math.min(10_000, 100 * 2 ** (failures - 1))
      const delay = backoffDelay(failures, { initialDelayMs: 100, maxDelayMs: 10_000 })
      expect(delay).toBeGreaterThanOrEqual(full / 2)
      expect(delay).toBeLessThanOrEqual(full)
    }),
  ))
