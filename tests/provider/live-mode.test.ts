// The choice between SSE and long-poll.
import { describe, expect, test } from 'vitest'
import {
  afterSse,
  type LiveModeState,
  liveModeAt,
  type SseLife,
  startLiveMode,
} from '../../client/src/reading/live-mode.ts'

const cutAtOnce: SseLife = { lastedMs: 20, heard: false, end: 'cut' }
const served: SseLife = { lastedMs: 60_000, heard: true, end: 'cut' }
const silent: SseLife = { lastedMs: 5_000, heard: false, end: 'silence' }
const renewed: SseLife = { lastedMs: 50_000, heard: true, end: 'left' }
const leftAtOnce: SseLife = { lastedMs: 20, heard: false, end: 'left' }

const stateAfter = (lives: readonly SseLife[], start: LiveModeState = startLiveMode('sse')) =>
  lives.reduce((state, life) => afterSse(state, life, 0), start)
const modeAfter = (...lives: SseLife[]) => liveModeAt(stateAfter(lives), 0)

describe('after SSE connections', () => {
  test.each([
    ['three that were cut at once', [cutAtOnce, cutAtOnce, cutAtOnce], 'long-poll'],
    ['two that were cut at once', [cutAtOnce, cutAtOnce], 'sse'],
    ['two that stayed silent', [silent, silent], 'long-poll'],
    ['one that stayed silent', [silent], 'sse'],
    [
      'two that stayed silent, with one between that was left before it could bring anything',
      [silent, leftAtOnce, silent],
      'long-poll',
    ],
    ['two that stayed silent, with a good one between', [silent, served, silent], 'sse'],
    ['two that stayed silent, with a renewed one between', [silent, renewed, silent], 'sse'],
    ['three that were cut at once, with a good one between', [cutAtOnce, cutAtOnce, served, cutAtOnce], 'sse'],
    ['any number that were left before they could bring anything', Array(20).fill(leftAtOnce), 'sse'],
    ['any number of good ones', Array(20).fill(served), 'sse'],
  ] as const)('%s: %s', (_, lives, mode) => {
    expect(modeAfter(...lives)).toBe(mode)
  })
})

describe('long-poll', () => {
  const later = 11 * 60_000

  test('ends after some minutes', () => {
    const state = stateAfter([silent, silent])
    expect([0, 60_000, later].map((now) => liveModeAt(state, now))).toEqual(['long-poll', 'long-poll', 'sse'])
  })

  test.each([
    ['silent', silent],
    ['cut at once', cutAtOnce],
  ])('returns at once if SSE is still %s', (_, life) => {
    const again = afterSse(stateAfter([life, life, life]), life, later)
    expect(liveModeAt(again, later)).toBe('long-poll')
  })

  test('does not return if SSE works again', () => {
    const good = afterSse(stateAfter([silent, silent]), served, later)
    expect(liveModeAt(afterSse(good, silent, later), later)).toBe('sse')
  })

  test('is kept if the app asked for it', () => {
    expect(liveModeAt(startLiveMode('long-poll'), 0)).toBe('long-poll')
  })
})
