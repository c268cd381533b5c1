// The decisions of a direct writer, alone and in a world where several write to one log and every request may fail.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  beginAppend,
  invalidate,
  newPush,
  newWriter,
  nextStep,
  observeTip,
  onReply,
  type Reply,
  type Tip,
  type Writer,
} from '../../client/src/direct/direct-core.ts'
import { headerMessage } from '../../client/src/protocol/index.js'
import type { Chunk } from '../../client/src/writing/writer.ts'
import { type Event, eventsFrom } from '../support/events.ts'
import { check } from '../support/random.ts'
import { SimulatedClient } from './support/simulated-client.ts'
import { SimulatedLog } from './support/simulated-log.ts'

const chunkOf = (events: Event[]): Chunk => ({ body: JSON.stringify(events), events })
const at = (offset: string, head: number): Tip => ({ offset, head })
const current = (tip: Tip, producerSeq = 1): Writer => ({ tipState: { _tag: 'Verified', tip }, producerSeq })
const header = headerMessage('a')

/** The writer's requests and its result, for these replies of the log's server. */
const run = (writer: Writer, chunk: Chunk, replies: readonly Reply[]) => {
  const trace: string[] = []
  let push = newPush(chunk)
  for (const reply of [...replies, undefined]) {
    const step = nextStep(writer, push)
    const from =
      step._tag === 'Read'
        ? ` from ${step.from?.offset ?? 'the start'}`
        : step._tag === 'Append'
          ? ` ${step.producerSeq}`
          : ''
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
    [
      'of a new writer reads the whole log, then appends',
      newWriter,
      [
        { _tag: 'Read', messages: [header, ...eventsFrom(0, 5)], end: '5' },
        { _tag: 'Appended', offset: '8' },
      ],
      ['Read from the start', 'Append 0', 'Accepted'],
    ],
    [
      'onto the verified head appends',
      current(at('5', 5), 7),
      [{ _tag: 'Appended', offset: '8' }],
      ['Append 7', 'Accepted'],
    ],
    [
      'onto a head that a pull observed checks first',
      observeTip(newWriter, at('5', 5)),
      [
        { _tag: 'Checked', tail: '5' },
        { _tag: 'Appended', offset: '8' },
      ],
      ['Check', 'Append 0', 'Accepted'],
    ],
    [
      'onto the verified head with a new producer checks first',
      current(at('5', 5), 0),
      [
        { _tag: 'Checked', tail: '5' },
        { _tag: 'Appended', offset: '8' },
      ],
      ['Check', 'Append 0', 'Accepted'],
    ],
    ['behind the head fails at once', current(at('9', 9)), [], ['ServerAhead']],
    [
      'beyond the head checks, then reports a gap',
      current(at('3', 3)),
      [{ _tag: 'Checked', tail: '3' }],
      ['Check', 'Gap'],
    ],
    [
      'without a stream creates it',
      current(at('5', 5)),
      [{ _tag: 'Missing' }, { _tag: 'Created' }],
      ['Append 1', 'Create', 'Read from the start'],
    ],
    [
      'to a stream that another client has created meanwhile reads it',
      current(at('5', 5)),
      [{ _tag: 'Missing' }, { _tag: 'Exists' }, { _tag: 'Read', messages: [header, ...eventsFrom(0, 5)], end: '5' }],
      ['Append 1', 'Create', 'Read from the start', 'Append 0'],
    ],
    [
      'that the fence refuses reads on from the tip',
      current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: theirs, end: '7' }],
      ['Append 1', 'Read from 5', 'ServerAhead'],
    ],
    [
      'that the fence refuses because it is in the log already is accepted',
      current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: [...three.events, ...eventsFrom(8, 2, {}, 'x')], end: '9' }],
      ['Append 1', 'Read from 5', 'Accepted'],
    ],
    [
      'that the fence refuses twice without a reason in the log waits',
      current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: [], end: '5' }, { _tag: 'Conflict' }],
      ['Append 1', 'Read from 5', 'Append 0', 'Later'],
    ],
    [
      'to a server that has forgotten the producer checks before it begins a new one',
      current(at('5', 5), 3),
      [{ _tag: 'Forgotten' }, { _tag: 'Checked', tail: '5' }, { _tag: 'Appended', offset: '8' }],
      ['Append 3', 'Check', 'Append 0', 'Accepted'],
    ],
    [
      'to a log that was restored to an older state stops',
      current(at('5', 5), 3),
      [
        { _tag: 'Forgotten' },
        { _tag: 'Checked', tail: '4' },
        { _tag: 'Read', messages: [header, ...eventsFrom(0, 4)], end: '4' },
      ],
      ['Append 3', 'Check', 'Read from the start', 'Stop'],
    ],
    [
      'that landed before the known tip reads the whole log',
      current(at('5', 5)),
      [{ _tag: 'Appended', offset: '4' }],
      ['Append 1', 'Read from the start'],
    ],
    [
      'to a log that does not continue the known one reads the whole log',
      current(at('5', 5)),
      [{ _tag: 'Conflict' }, { _tag: 'Read', messages: eventsFrom(6, 1), end: '6' }],
      ['Append 1', 'Read from 5', 'Read from the start'],
    ],
    [
      'to a broken log stops',
      newWriter,
      [{ _tag: 'Read', messages: [header, ...eventsFrom(0, 2), ...eventsFrom(4, 1)], end: '4' }],
      ['Read from the start', 'Stop'],
    ],
  ])('%s', (_, writer, replies, trace) => {
    expect(traceOf(writer, three, replies)).toEqual(trace)
  })

  test('that made the head is accepted again without a request', () => {
    const { writer } = run(current(at('5', 5)), three, [{ _tag: 'Appended', offset: '8' }])
    expect(traceOf(writer, three, [])).toEqual(['Accepted'])
    expect(traceOf(writer, chunkOf(eventsFrom(8, 1)), [])).toEqual(['Append 2'])
  })

  describe('after an append of unknown outcome', () => {
    const unknown = beginAppend(at('5', 5))

    test.each<[string, Reply[], string[]]>([
      ['appends if the log has nothing new', [{ _tag: 'Checked', tail: '5' }], ['Check', 'Append 0']],
      [
        'is accepted if it is in the log',
        [
          { _tag: 'Checked', tail: '8' },
          { _tag: 'Read', messages: three.events, end: '8' },
        ],
        ['Check', 'Read from 5', 'Accepted'],
      ],
      [
        'fails if another batch is in the log',
        [
          { _tag: 'Checked', tail: '7' },
          { _tag: 'Read', messages: theirs, end: '7' },
        ],
        ['Check', 'Read from 5', 'ServerAhead'],
      ],
    ])('%s', (_, replies, trace) => {
      expect(traceOf(unknown, three, replies)).toEqual(trace)
    })

    test('reads on from its own tip, though a pull has seen more since', () => {
      const replies: Reply[] = [
        { _tag: 'Checked', tail: '9' },
        { _tag: 'Read', messages: [...three.events, ...eventsFrom(8, 1)], end: '9' },
      ]
      expect(traceOf(observeTip(unknown, at('9', 9)), three, replies)).toEqual(['Check', 'Read from 5', 'Accepted'])
    })
  })

  test('checks first after a lost connection', () => {
    expect(traceOf(invalidate(current(at('5', 5), 3)), three, [{ _tag: 'Checked', tail: '5' }])).toEqual([
      'Check',
      'Append 0',
    ])
  })

  test('keeps its producer when a pull has brought others’ events', () => {
    expect(traceOf(observeTip(current(at('3', 3), 2), at('5', 5)), three, [])).toEqual(['Append 2'])
  })
})

/** Faults of a server that forgets its fence. Requests under way are lost with it, which docs/reliability.md does not promise. */
const crash = (log: SimulatedLog, clients: readonly SimulatedClient[]) => {
  log.forget()
  for (const client of clients) client.loseRequest()
}

test('property: whatever requests are lost, late or repeated, the log is one chain with each acknowledged event once', () =>
  check(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.tuple(fc.nat(3), fc.nat(99), fc.nat(99)), { minLength: 20, maxLength: 200 }),
      (count, script) => {
        const log = new SimulatedLog()
        const clients = Array.from({ length: count }, (_, i) => new SimulatedClient(`c${i}`, log))
        for (const [who, what, luck] of script) {
          if (what < 4) crash(log, clients)
          else clients[who % count]!.act(what, luck)
        }
        // Without further faults every client gets all its events in
        for (let round = 0; round < 50 && clients.some((_) => _.isBusy()); round++)
          for (const client of clients) client.finish()
        expect(clients.filter((_) => _.isBusy())).toEqual([])
        log.arriveLate()
        log.check(clients.flatMap((_) => _.acknowledged))
      },
    ),
    2_000,
  ))
