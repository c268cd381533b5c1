// Turns: how long a writer waits for the writers before it.
import { describe, expect, test } from 'vitest'
import { NO_TURN, standsInLine, waitMs } from '../../client/src/socket/turns.ts'

const turn = { line: [5, 3, 8], patienceMs: 40 }

describe('a writer', () => {
  test.each([
    ['at the front waits for nobody', 5, 0, 0],
    ['in the second place waits once', 3, 0, 40],
    ['in the third place waits twice', 8, 0, 80],
    ['that is not in the line stands behind it', 7, 0, 120],
    ['has waited a part already', 8, 50, 30],
    ['has waited for long enough', 8, 80, 0],
    ['has waited for too long', 8, 10_000, 0],
  ])('%s', (_, own, elapsedMs, expected) => {
    expect(waitMs(turn, own, elapsedMs)).toBe(expected)
  })

  test('waits for nobody while nobody contends', () => {
    expect(waitMs(NO_TURN, 5, 0)).toBe(0)
  })

  const long = { line: Array.from({ length: 16 }, (_, i) => i), patienceMs: 40 }

  test.each([
    ['that is named stands in line', turn, 8, false, true],
    ['that a short line does not name does not stand in it', turn, 7, true, false],
    ['that a long line does not name still stands in it', long, 99, true, true],
    ['that never stood in a long line does not', long, 99, false, false],
  ])('%s', (_, turn, own, stood, expected) => {
    expect(standsInLine(turn, own, stood)).toBe(expected)
  })
})
