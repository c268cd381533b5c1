// The choice of the way to receive events.
import { describe, expect, test } from 'vitest'
import {
  afterConnection,
  type ConnectionLife,
  type LiveMode,
  type LiveModeState,
  liveModeAt,
  type StreamMode,
  startLiveMode,
} from '../../client/src/reading/live-mode.ts'

type Life = Omit<ConnectionLife, 'mode'>

const cutAtOnce: Life = { lastedMs: 20, heard: false, end: 'cut' }
const served: Life = { lastedMs: 60_000, heard: true, end: 'cut' }
const silent: Life = { lastedMs: 5_000, heard: false, end: 'silence' }
const renewed: Life = { lastedMs: 50_000, heard: true, end: 'left' }
/** As behind a proxy that takes its time to refuse it. */
const cutUnheard: Life = { lastedMs: 3_000, heard: false, end: 'cut' }
const leftAtOnce: Life = { lastedMs: 20, heard: false, end: 'left' }

const stateAfter = (mode: StreamMode, lives: readonly Life[], start: LiveModeState = startLiveMode(mode), now = 0) =>
  lives.reduce((state, life) => afterConnection(state, { ...life, mode }, now), start)

describe.each([
  ['websocket', 'sse'],
  ['sse', 'long-poll'],
] as const)('%s', (mode, below) => {
  const modeAfter = (...lives: Life[]) => liveModeAt(stateAfter(mode, lives), 0)
  const later = 11 * 60_000

  test.each([
    ['three that were cut at once', [cutAtOnce, cutAtOnce, cutAtOnce], below],
    ['two that were cut at once', [cutAtOnce, cutAtOnce], mode],
    ['three that were cut before they brought anything', [cutUnheard, cutAtOnce, cutUnheard], below],
    ['two that stayed silent', [silent, silent], below],
    ['three that were cut at once, with a good one between', [cutAtOnce, cutAtOnce, served, cutAtOnce], mode],
    ['any number that were left before they could bring anything', Array(20).fill(leftAtOnce), mode],
    ['any number of good ones', Array(20).fill(served), mode],
  ] as const)('after %s: %s', (_, lives, expected) => {
    expect(modeAfter(...lives)).toBe(expected)
  })

  test('comes back after some minutes', () => {
    const state = stateAfter(mode, [silent, silent])
    expect([0, 60_000, later].map((now) => liveModeAt(state, now))).toEqual([below, below, mode])
  })

  test.each([
    ['silent', silent],
    ['cut at once', cutAtOnce],
  ])('is left at once if it is still %s when it comes back', (_, life) => {
    const again = stateAfter(mode, [life], stateAfter(mode, [life, life, life]), later)
    expect(liveModeAt(again, later)).toBe(below)
  })

  test('stays after it came back and worked', () => {
    const good = stateAfter(mode, [served], stateAfter(mode, [cutAtOnce, cutAtOnce, cutAtOnce]), later)
    expect(liveModeAt(stateAfter(mode, [cutAtOnce, cutAtOnce], good, later), later)).toBe(mode)
  })
})

describe('SSE', () => {
  test.each([
    ['one that stayed silent', [silent], 'sse'],
    [
      'two that stayed silent, with one between that was left before it could bring anything',
      [silent, leftAtOnce, silent],
      'long-poll',
    ],
    ['two that stayed silent, with a good one between', [silent, served, silent], 'sse'],
    ['two that stayed silent, with a renewed one between', [silent, renewed, silent], 'sse'],
  ] as const)('after %s: %s', (_, lives, expected) => {
    expect(liveModeAt(stateAfter('sse', lives), 0)).toBe(expected)
  })
})

test('a socket that stayed silent once gives way to SSE', () => {
  expect(liveModeAt(stateAfter('websocket', [silent]), 0)).toBe('sse')
})

test('the pull falls back twice where neither WebSockets nor SSE get through', () => {
  const withoutSockets = stateAfter('websocket', [silent, silent])
  expect(liveModeAt(stateAfter('sse', [silent, silent], withoutSockets), 0)).toBe('long-poll')
})

test.each<[LiveMode, StreamMode[], LiveMode]>([
  ['websocket', ['websocket'], 'sse'],
  ['websocket', ['sse'], 'websocket'],
  ['websocket', ['websocket', 'sse'], 'long-poll'],
  ['sse', ['websocket'], 'sse'],
  ['sse', ['sse'], 'long-poll'],
  ['long-poll', [], 'long-poll'],
])('an app that prefers %s, where %j are impossible, gets %s', (preferred, unable, expected) => {
  expect(liveModeAt(startLiveMode(preferred), 0, unable)).toBe(expected)
})
