// What a direct writer decides, alone and in a world where several write to one log and every request may go wrong.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  beginAppend, invalidate, newPush, newWriter, nextStep, onReply, type Reply, observeTip, type Tip, type Writer,
} from '../../client/src/direct/direct-core.ts'
import { headerMessage } from '../../client/src/protocol/index.js'
import type { Chunk } from '../../client/src/writing/writer.ts'
import { SimulatedClient, SimulatedLog } from './support/simulated-log.ts'
import { check, type Event, eventsFrom } from './support/events.ts'

const chunkOf = (events: Event[]): Chunk => ({ body: JSON.stringify(events), events })
const at = (offset: string, head: number): Tip => ({ offset, head })
const current = (tip: Tip, producerSeq = 1): Writer => ({ tipState: { _tag: 'Verified', tip }, producerSeq })
const header = headerMessage('a')

/** What it asks, and the answer, when the log's server replies so. */
const run = (writer: Writer, chunk: Chunk, replies: readonly Reply[]) => {
  const trace: string[] = []
  let push = newPush(chunk)
  for (const reply of [...replies, undefined]) {
    const step = nextStep(writer, push)
    const from = step._tag === 'Read' ? ` from ${step.from?.offset ?? 'the start'}` : step._tag === 'Append' ? ` ${step.producerSeq}` : ''
    trace.push(`${step._tag}${from}`)
    if (reply === undefined || step._tag === 'Accepted' || step._tag === 'ServerAhead' || step._tag === 'Gap') break
    const verdict = onReply(writer, push, step, reply)
    writer = verdict.writer
    if (verdict._tag !== 'Go') {
      trace.push(verdict._tag)
      break
    }
    push = verdict.push
  }
  return { trace, writer }
}
const traceOf = (...args: Parameters<typeof run>) => run(...args).trace

const three = chunkOf(eventsFrom(5, 3))
const theirs = eventsFrom(5, 2, {}, 'another')

describe('a push', () => {
  test.each<[string, Writer, Reply[], string[]]>([
    ['knowing nothing reads all, then appends', newWriter,
      [{ _tag: 'Read', messages: [header, ...eventsFrom(0, 5)], end: '5' }, { _tag: 'Appended', offset: '8' }],
      ['Read from the start', 'Append 0', 'Accepted']],
    ['onto the head it knows appends', current(at('5', 5), 7), [{ _tag: 'Appended', offset: '8' }], ['Append 7', 'Accepted']],
    ['onto a head that was pulled looks first', observeTip(newWriter, at('5', 5)),
      [{ _tag: 'Checked', tail: '5' }, { _tag: 'Appended', offset: '8' }], ['Check', 'Append 0', 'Accepted']],
    ['onto the head it knows, at the start of a producerSeq, looks first', current(at('5', 5), 0),
      [{ _tag: 'Checked', tail: '5' }, { _tag: 'Appended', offset: '8' }], ['Check', 'Append 0', 'Accepted']],
    ['behind the head is refused at once', current(at('9', 9)), [], ['ServerAhead']],
    ['beyond the head looks, then says so', current(at('3', 3)), [{ _tag: 'Checked', tail: '3' }], ['Check', 'Gap']],
    ['to no stream makes it', current(at('5', 5)),
      [{ _tag: 'Missing' }, { _tag: 'Created' }], ['Append 1', 'Create', 'Read from the start']],
    ['to a stream that someone else made meanwhile reads it', current(at('5', 5)),
      [{ _tag: 'Missing' }, { _tag: 'Exists' }, { _tag: 'Read', messages: [header, ...eventsFrom(0, 5)], end: '5' }],
      ['Append 1', 'Create', 'Read from the start', 'Append 0']],
    ['that the fence refuses reads what came between', current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: theirs, end: '7' }], ['Append 1', 'Read from 5', 'ServerAhead']],
    ['that the fence refuses, because it is there, is accepted', current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: [...three.events, ...eventsFrom(8, 2, {}, 'x')], end: '9' }],
      ['Append 1', 'Read from 5', 'Accepted']],
    ['that the fence refuses twice, and nothing is there, waits', current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: [], end: '5' }, { _tag: 'Conflict' }],
      ['Append 1', 'Read from 5', 'Append 0', 'Later']],
    ['to a server that has forgotten looks before it begins a new producerSeq', current(at('5', 5), 3),
      [{ _tag: 'Forgotten' }, { _tag: 'Checked', tail: '5' }, { _tag: 'Appended', offset: '8' }],
      ['Append 3', 'Check', 'Append 0', 'Accepted']],
    ['to a log that was put back says what is lost', current(at('5', 5), 3),
      [{ _tag: 'Forgotten' }, { _tag: 'Checked', tail: '4' }, { _tag: 'Read', messages: [header, ...eventsFrom(0, 4)], end: '4' }],
      ['Append 3', 'Check', 'Read from the start', 'Stop']],
    ['that landed in the middle of nowhere reads all', current(at('5', 5)),
      [{ _tag: 'Appended', offset: '4' }], ['Append 1', 'Read from the start']],
    ['to a log that does not go on from what is known reads all', current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: eventsFrom(6, 1), end: '6' }],
      ['Append 1', 'Read from 5', 'Read from the start']],
    ['to a log that is no chain stops', newWriter,
      [{ _tag: 'Read', messages: [header, ...eventsFrom(0, 2), ...eventsFrom(4, 1)], end: '4' }], ['Read from the start', 'Stop']],
  ])('%s', (_, writer, replies, trace) => {
    expect(traceOf(writer, three, replies)).toEqual(trace)
  })

  test('that made the head is accepted again, and nothing is asked', () => {
    const { writer } = run(current(at('5', 5)), three, [{ _tag: 'Appended', offset: '8' }])
    expect(traceOf(writer, three, [])).toEqual(['Accepted'])
    expect(traceOf(writer, chunkOf(eventsFrom(8, 1)), [])).toEqual(['Append 2'])
  })

  describe('after one whose outcome nobody knows', () => {
    const unknown = beginAppend(at('5', 5))

    test.each<[string, Reply[], string[]]>([
      ['appends, if nothing came', [{ _tag: 'Checked', tail: '5' }], ['Check', 'Append 0']],
      ['is accepted, if it is there', [{ _tag: 'Checked', tail: '8' }, { _tag: 'Read', messages: three.events, end: '8' }],
        ['Check', 'Read from 5', 'Accepted']],
      ['is refused, if something else is there', [{ _tag: 'Checked', tail: '7' }, { _tag: 'Read', messages: theirs, end: '7' }],
        ['Check', 'Read from 5', 'ServerAhead']],
    ])('%s', (_, replies, trace) => {
      expect(traceOf(unknown, three, replies)).toEqual(trace)
    })

    test('is looked for from there, though a pull has seen more since', () => {
      const replies: Reply[] = [{ _tag: 'Checked', tail: '9' }, { _tag: 'Read', messages: [...three.events, ...eventsFrom(8, 1)], end: '9' }]
      expect(traceOf(observeTip(unknown, at('9', 9)), three, replies)).toEqual(['Check', 'Read from 5', 'Accepted'])
    })
  })

  test('looks first after a connection was lost', () => {
    expect(traceOf(invalidate(current(at('5', 5), 3)), three, [{ _tag: 'Checked', tail: '5' }])).toEqual(['Check', 'Append 0'])
  })

  test('goes on in its producerSeq when a pull has brought what others wrote', () => {
    expect(traceOf(observeTip(current(at('3', 3), 2), at('5', 5)), three, [])).toEqual(['Append 2'])
  })
})

/** Of a server that forgets its fence. What is under way then is lost with it, which docs/reliability.md does not promise. */
const crash = (log: SimulatedLog, clients: readonly SimulatedClient[]) => {
  log.forget()
  for (const client of clients) client.loseRequest()
}

test('property: however requests are lost, late or repeated: one chain, and each acknowledged event in it once', () =>
  check(fc.property(
    fc.integer({ min: 1, max: 4 }),
    fc.array(fc.tuple(fc.nat(3), fc.nat(99), fc.nat(99)), { minLength: 20, maxLength: 200 }),
    (count, script) => {
      const log = new SimulatedLog()
      const clients = Array.from({ length: count }, (_, i) => new SimulatedClient(`c${i}`, log))
      for (const [who, what, luck] of script) {
        if (what < 4) crash(log, clients)
        else clients[who % count]!.act(what, luck)
      }
      // No fault any more: everyone gets everything in
      for (let round = 0; round < 50 && clients.some((_) => _.isBusy()); round++) for (const client of clients) client.finish()
      expect(clients.filter((_) => _.isBusy())).toEqual([])
      log.arriveLate()
      log.check(clients.flatMap((_) => _.acknowledged))
    },
  ), 2_000))
