// The oracle must find each kind of fault, and only that kind, in a log that is right otherwise.
import { describe, expect, test } from 'vitest'
import { type Attempt, type ChaosEvent, type Outcome, View } from './history.ts'
import { acquittal, type Evidence, judge, type Verdict } from './oracle.ts'

/** The log has a and b, acknowledged in one batch; c, a maybe that landed; d, acknowledged. It lacks a refused attempt of c. */
const sound = (): Evidence & { log: ChaosEvent[]; attempts: Map<string, Attempt> } => {
  const log = [event(1, 'a', 'w/1'), event(2, 'b', 'w/1'), event(3, 'c', 'v/2'), event(4, 'd', 'w/2')]
  const attempts = new Map([
    attempt('a', 'w/1', 'acknowledged'),
    attempt('b', 'w/1', 'acknowledged'),
    attempt('c', 'v/1', 'refused'),
    attempt('c', 'v/2', 'maybe'),
    attempt('d', 'w/2', 'acknowledged'),
  ])
  return { log, attempts, made: new Set(['a', 'b', 'c', 'd']), views: [viewOf('reader', log)] }
}

describe('the oracle', () => {
  test('finds nothing wrong with a sound history', () => {
    expect(judge(sound())).toEqual(acquittal())
  })

  test('finds an acknowledged event that is lost', () => {
    const { log, ...rest } = sound()
    expect(judge(seenByAll(rest, log.slice(0, 3)))).toEqual(
      wrong({ lost: ['d@w/2 was acknowledged'], missing: ['d was made'] }),
    )
  })

  test('finds an event that is not in the log, though nobody acknowledged it', () => {
    const { made, ...rest } = sound()
    expect(judge({ ...rest, made: new Set([...made, 'e']) })).toEqual(wrong({ missing: ['e was made'] }))
  })

  test('finds an acknowledged attempt that is lost, though another attempt has the event', () => {
    const { log, attempts, ...rest } = sound()
    attempts.set(...attempt('d', 'w/3', 'maybe'))
    const other = [...log.slice(0, 3), event(4, 'd', 'w/3')]
    expect(judge(seenByAll({ attempts, ...rest }, other))).toEqual(wrong({ lost: ['d@w/2 was acknowledged'] }))
  })

  test('finds a doubled attempt', () => {
    const { log, ...rest } = sound()
    expect(judge(seenByAll(rest, [...log, event(5, 'd', 'w/2')]))).toEqual(wrong({ doubled: ['d is there 2 times'] }))
  })

  test('finds an event that landed in two attempts', () => {
    const { log, attempts, ...rest } = sound()
    attempts.set(...attempt('c', 'v/3', 'maybe'))
    expect(judge(seenByAll({ attempts, ...rest }, [...log, event(5, 'c', 'v/3')]))).toEqual(
      wrong({ doubled: ['c is there 2 times'] }),
    )
  })

  test('finds a fork', () => {
    const { log, attempts, ...rest } = sound()
    attempts.set(...attempt('e', 'u/1', 'maybe'))
    const forked = [...log, event(4, 'e', 'u/1')]
    expect(judge(seenByAll({ attempts, ...rest }, forked))).toEqual(
      wrong({ broken: ['event 4 (e@u/1) with the parent 3 follows event 4'] }),
    )
  })

  test('finds a gap', () => {
    const { log, attempts, ...rest } = sound()
    attempts.set(...attempt('e', 'u/1', 'maybe'))
    const gapped = [...log, event(6, 'e', 'u/1')]
    expect(judge(seenByAll({ attempts, ...rest }, gapped))).toEqual(
      wrong({ broken: ['event 6 (e@u/1) with the parent 5 follows event 4'] }),
    )
  })

  test('finds a chain that does not begin at the root', () => {
    const log = [event(2, 'a', 'w/1')]
    const attempts = new Map([attempt('a', 'w/1', 'maybe')])
    const { broken } = judge(seenByAll({ attempts, made: new Set(['a']) }, log))
    expect(broken).toEqual(['event 2 (a@w/1) with the parent 1 follows event 0'])
  })

  test('finds a refused attempt in the log', () => {
    const { attempts, ...rest } = sound()
    attempts.set(...attempt('c', 'v/2', 'refused'))
    expect(judge({ attempts, ...rest })).toEqual(wrong({ refused: ['c@v/2 was refused'] }))
  })

  test('finds an event that nobody pushed', () => {
    const { log, ...rest } = sound()
    expect(judge(seenByAll(rest, [...log, event(5, 'x', 'x/1')]))).toEqual(
      wrong({ unknown: ['x@x/1 was pushed by nobody'] }),
    )
  })

  test('finds a batch that is only partly in the log', () => {
    const { attempts, ...rest } = sound()
    attempts.set(...attempt('e', 'v/2', 'maybe'))
    expect(judge({ attempts, ...rest })).toEqual(wrong({ torn: ['1 of 2 events of v/2 are there'] }))
  })

  test('finds a reader that saw fewer events, other events, or a break', () => {
    const { log, ...rest } = sound()
    const less = viewOf('less', log.slice(0, 3))
    const other = viewOf('other', [...log.slice(0, 3), event(4, 'e', 'u/1')])
    const broken = viewOf('broken', [...log, event(6, 'f', 'u/2')])
    expect(judge({ ...rest, log, views: [less, other, broken] })).toEqual(
      wrong({
        misread: [
          'less has nothing as event 4, but the log has d@w/2',
          'other has e@u/1 as event 4, but the log has d@w/2',
          'broken: event 6 with the parent 5 follows event 4',
        ],
      }),
    )
  })

  test('relies on a view that notices a changed event, and drops known events', () => {
    const view = viewOf('reader', sound().log)
    expect(view.take(event(2, 'b', 'w/1'))).toBe(false)
    expect(view.breaks).toEqual([])
    view.take(event(2, 'z', 'w/9'))
    expect(view.breaks).toEqual(['event 2 was b@w/1, then z@w/9'])
  })
})

const id = (event: string, batch: string) => `${event}@${batch}`

const event = (seqNum: number, name: string, batch: string): ChaosEvent => ({
  name: 'chaos',
  args: { event: name, attempt: id(name, batch), padding: '' },
  seqNum,
  parentSeqNum: seqNum - 1,
  clientId: 'client',
  sessionId: 'session',
})

const attempt = (name: string, batch: string, outcome: Outcome): [string, Attempt] => [
  id(name, batch),
  { event: name, batch, outcome },
]

function viewOf(name: string, log: ChaosEvent[]): View {
  const view = new View(name)
  for (const each of log) view.take(each)
  return view
}

/** The log with a reader who saw the same: the oracle must fault only the log. */
const seenByAll = (rest: Omit<Evidence, 'log' | 'views'>, log: ChaosEvent[]): Evidence => ({
  ...rest,
  log,
  views: [{ name: 'reader', attempts: log.map(({ args }) => args.attempt), breaks: [] }],
})

const wrong = (found: Partial<Verdict>): Verdict => ({ ...acquittal(), ...found })
