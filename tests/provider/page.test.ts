// The pure part of the pull: chain check, paging, metadata.
import { Option } from 'effect'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { headerMessage } from '../../client/src/protocol/index.js'
import { startOf } from '../../client/src/reading/cursor.ts'
import { cutPage, type PullItem, readPage, START_OFFSET } from '../../client/src/reading/page.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { check } from '../support/random.ts'

const header = headerMessage('a-backend')

describe('the chain check', () => {
  test('skips the header and learns its backend', () => {
    const events = eventsFrom(0, 3)
    expect(readPage([header, ...events], 0)).toEqual({ _tag: 'Linked', events, backendId: 'a-backend' })
  })

  test('the first event links to the cursor, however far its seqNum jumps', () => {
    const [first] = eventsFrom(0, 1)
    const late = { ...first, seqNum: 100 }
    expect(readPage([late], 0)).toMatchObject({ _tag: 'Linked', events: [late] })
    expect(readPage([late], 7)).toMatchObject({ _tag: 'Broken' })
  })

  test.each([
    ['a gap', [...eventsFrom(0, 2), ...eventsFrom(3, 2)]],
    ['a fork', [...eventsFrom(0, 3), ...eventsFrom(2, 2)]],
    ['a duplicate', [...eventsFrom(0, 3), ...eventsFrom(2, 1)]],
    ['an event that is its own parent', [{ ...eventsFrom(0, 1)[0], seqNum: 0 }]],
  ])('%s is broken', (_, messages) => {
    expect(readPage(messages, 0)._tag).toBe('Broken')
  })

  test.each([
    ['something that is no event', [...eventsFrom(0, 1), { hello: 'world' }]],
    ['an event without a name', [{ ...eventsFrom(0, 1)[0], name: undefined }]],
    ['a seqNum that is no integer', [{ ...eventsFrom(0, 1)[0], seqNum: 1.5 }]],
    ['null', [null]],
    ['a header without an id', [{ livestore: {} }]],
  ])('%s makes the page foreign', (_, messages) => {
    expect(readPage(messages, 0)._tag).toBe('Foreign')
  })

  test('a fork hidden among the dropped events is broken too', () => {
    expect(readPage([...eventsFrom(0, 3), ...eventsFrom(1, 4)], 3)._tag).toBe('Broken')
  })

  test('in a page that continues the cursor, a known event is a fork', () => {
    const events = eventsFrom(3, 2)
    expect(readPage(events, 3, true)).toEqual({ _tag: 'Linked', events, backendId: undefined })
    expect(readPage([], 3, true)._tag).toBe('Linked')
    expect(readPage(eventsFrom(2, 1), 3, true)._tag).toBe('Broken')
    expect(readPage([...eventsFrom(2, 1), ...events], 3, true)._tag).toBe('Broken')
  })

  test('an event keeps only LiveStore’s own fields', () => {
    const [event] = eventsFrom(0, 1)
    expect(readPage([{ ...event, extra: true }], 0)).toMatchObject({ events: [event] })
  })

  test('an event without args is an event, because JSON drops undefined', () => {
    const [event] = eventsFrom(0, 1)
    const { args, ...bare } = event!
    expect(readPage([bare], 0)._tag).toBe('Linked')
  })

  test('property: a page gives exactly the events after any cursor in a chain', () =>
    check(
      fc.property(fc.nat(60), fc.nat(60), (length, at) => {
        const cursor = Math.min(length, at)
        const page = readPage([header, ...eventsFrom(0, length)], cursor)
        expect(page).toMatchObject({ _tag: 'Linked' })
        if (page._tag === 'Linked') expect(page.events.map((_) => _.seqNum)).toEqual(numbers(cursor + 1, length))
      }),
    ))

  test('property: a page with one event missing, repeated or moved never passes', () =>
    check(
      fc.property(
        fc.integer({ min: 3, max: 40 }),
        fc.nat(),
        fc.nat(),
        fc.constantFrom('missing', 'repeated', 'moved'),
        (length, where, to, how) => {
          const events: unknown[] = eventsFrom(0, length)
          const index = where % (length - 1) // a missing last event is no break
          const [event] = events.splice(index, how === 'repeated' ? 0 : 1)
          const target = to % length
          if (how === 'repeated') events.splice(index, 0, events[index])
          if (how === 'moved' && target === index) return
          if (how === 'moved') events.splice(target, 0, event)
          expect(readPage(events, 0)._tag).toBe('Broken')
        },
      ),
    ))
})

describe('items', () => {
  const page = (upToDate: boolean, head?: number) => ({
    readFrom: 'from',
    next: 'next',
    upToDate,
    head,
    maxItemEvents: 10,
  })
  const infos = (items: PullItem[]) => items.map((_) => _.pageInfo)

  test('remaining is head − last pulled, and the end is NoMore', () => {
    expect(infos(cutPage(eventsFrom(0, 25), page(true, 25)))).toEqual([
      { _tag: 'MoreKnown', remaining: 15 },
      { _tag: 'MoreKnown', remaining: 5 },
      { _tag: 'NoMore' },
    ])
    expect(infos(cutPage(eventsFrom(0, 20), page(false, 90)))).toEqual([
      { _tag: 'MoreKnown', remaining: 80 },
      { _tag: 'MoreKnown', remaining: 70 },
    ])
  })

  test('a head that lags behind the page is the page’s own', () => {
    expect(infos(cutPage(eventsFrom(0, 20), page(true, 3)))[0]).toEqual({ _tag: 'MoreKnown', remaining: 10 })
    expect(infos(cutPage(eventsFrom(0, 10), page(false, 3)))).toEqual([{ _tag: 'MoreUnknown' }])
  })

  test('a server that does not tell its head leaves the rest unknown', () => {
    expect(infos(cutPage(eventsFrom(0, 25), page(true)))).toEqual([
      { _tag: 'MoreUnknown' },
      { _tag: 'MoreUnknown' },
      { _tag: 'NoMore' },
    ])
    expect(infos(cutPage(eventsFrom(0, 10), page(false)))).toEqual([{ _tag: 'MoreUnknown' }])
  })

  test('in a page that was read by seqNum, only the last event has an offset', () => {
    const items = cutPage(eventsFrom(7, 12), { ...page(true, 19), readFrom: undefined })
    const offsets = items.flatMap((_) => _.batch).map((_) => _.offset)
    expect(offsets.slice(0, -1).every((_) => _ === undefined)).toBe(true)
    expect(offsets.at(-1)).toBe('next')
  })

  test('property: items are bounded, hold every event once and in order, and any event’s metadata resumes without loss', () =>
    check(
      fc.property(
        fc.integer({ min: 1, max: 80 }),
        fc.integer({ min: 1, max: 30 }),
        fc.boolean(),
        fc.nat(),
        (length, maxItemEvents, upToDate, stop) => {
          const events = eventsFrom(0, length)
          const items = cutPage(events, { readFrom: START_OFFSET, next: 'next', upToDate, head: length, maxItemEvents })
          const pulled = items.flatMap((_) => _.batch)
          expect(pulled.map((_) => _.event)).toEqual(events)
          expect(items.every((_) => _.batch.length <= maxItemEvents)).toBe(true)
          expect(items.filter((_) => _.pageInfo._tag === 'NoMore').length).toBe(upToDate ? 1 : 0)

          const { event, offset } = pulled[stop % length]!
          const rest = readPage(offset === 'next' ? [] : events, event.seqNum)
          expect(rest._tag === 'Linked' && rest.events.map((_) => _.seqNum)).toEqual(numbers(event.seqNum + 1, length))
        },
      ),
    ))
})

describe('a cursor', () => {
  test.each([
    ['none', Option.none(), { seqNum: 0, offset: undefined }],
    ['without metadata', cursor(5, Option.none()), { seqNum: 5, offset: undefined }],
    ['with another provider’s metadata', cursor(5, Option.some({ s2SeqNum: 4 })), { seqNum: 5, offset: undefined }],
    ['with our metadata', cursor(5, Option.some({ offset: '0_7' })), { seqNum: 5, offset: '0_7' }],
  ])('%s', (_, given, expected) => {
    expect(startOf(given)).toEqual(expected)
  })
})

function cursor(eventSequenceNumber: number, metadata: Option.Option<unknown>) {
  return Option.some({ eventSequenceNumber, metadata })
}
