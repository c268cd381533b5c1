// The first message of a log, which names its backend, out of an answer that arrives in pieces.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { firstMessage } from '../../client/src/direct/first-message.ts'
import { check } from '../support/random.ts'

test.each([
  ['', 'Incomplete'],
  ['  ', 'Incomplete'],
  ['[', 'Incomplete'],
  ['[{"a":"]', 'Incomplete'],
  ['[12', 'Incomplete'],
  ['[]', 'Empty'],
  [' [ ] ', 'Empty'],
  ['{}', 'NotAnArray'],
  ['<html>', 'NotAnArray'],
  ['[nonsense]', 'NotAnArray'],
])('%s: %s', (text, tag) => {
  expect(firstMessage(text)._tag).toBe(tag)
})

test('property: the first message is found as soon as it is complete, and never before', () =>
  check(
    fc.property(fc.array(fc.json(), { minLength: 1, maxLength: 3 }), fc.nat(), (messages, cut) => {
      const text = `[${messages.join(',')}]`
      const found = { _tag: 'Found', message: JSON.parse(messages[0]!) }
      expect(firstMessage(text)).toEqual(found)
      const whole = 1 + messages[0]!.length + 1
      const part = firstMessage(text.slice(0, cut % text.length))
      expect(part).toEqual(cut % text.length >= whole ? found : { _tag: 'Incomplete' })
    }),
    1_000,
  ))
