// The frames of a server, as docs/http-api.md lists them.
import { expect, test } from 'vitest'
import { parseFrame } from '../../client/src/socket/frame.ts'

const limits = { events: 100, bytes: 1024, pushes: 16 }
const hello = { id: 1, backend: 'b', head: 3, offset: '0_3', limits }
const problem = { type: 'urn:headwater:problem:overloaded', status: 503 }

test.each([
  ['hello', { hello }, undefined, { _tag: 'Hello', hello }],
  [
    'hello with the end of a token',
    { hello: { ...hello, expiresInMs: 5 } },
    undefined,
    { _tag: 'Hello', hello: { ...hello, expiresInMs: 5 } },
  ],
  ['ack', { ack: { push: 7, head: 4, offset: 'o' } }, undefined, { _tag: 'Ack', push: 7, head: 4, offset: 'o' }],
  ['refuse', { refuse: { push: 7, problem } }, undefined, { _tag: 'Refuse', push: 7, problem, retryAfterMs: 0 }],
  [
    'refuse with a pause',
    { refuse: { push: 7, problem, retryAfterMs: 2_000 } },
    undefined,
    { _tag: 'Refuse', push: 7, problem, retryAfterMs: 2_000 },
  ],
  [
    'events',
    { events: { parent: 3, head: 5, from: '0_3', offset: '0_5' } },
    '[{"a":1},{"b":"\\n"}]',
    { _tag: 'Events', parent: 3, head: 5, offset: '0_5', messages: [{ a: 1 }, { b: '\n' }], size: 20 },
  ],
  ['moved', { moved: { head: 9, offset: 'o' } }, undefined, { _tag: 'Moved', head: 9, offset: 'o' }],
  [
    'turns',
    { moved: { head: 9, offset: 'o', turn: { line: [5, 3], patienceMs: 40 } } },
    undefined,
    { _tag: 'Moved', turn: { line: [5, 3], patienceMs: 40 } },
  ],
  ['no turns', { moved: { head: 9, offset: 'o' } }, undefined, { turn: { line: [], patienceMs: 0 } }],
  ['reset', { reset: { backend: 'c' } }, undefined, { _tag: 'Reset', backend: 'c' }],
  ['granted', { granted: { expiresInMs: 10 } }, undefined, { _tag: 'Granted', expiresInMs: 10 }],
  ['granted forever', { granted: {} }, undefined, { _tag: 'Granted', expiresInMs: undefined }],
  ['bye', { bye: { reason: 'restarted', detail: 'again' } }, undefined, { _tag: 'Bye' }],
  ['a kind of a later version', { turn: { of: 'you' } }, 'anything', { _tag: 'Other' }],
  ['unknown members', { moved: { head: 9, offset: 'o', more: 1 }, more: 2 }, undefined, { _tag: 'Moved', head: 9 }],
])('%s', (_, head, batch, expected) => {
  expect(parseFrame(JSON.stringify(head) + (batch === undefined ? '' : `\n${batch}`))).toMatchObject(expected)
})

test.each([
  ['a page', '<!doctype html>'],
  ['nothing', ''],
  ['a pong', 'pong'],
  ['null', 'null'],
  ['an array', '[]'],
  ['a number', '7'],
  ['hello without an id', JSON.stringify({ hello: { ...hello, id: undefined } })],
  ['a line of names', JSON.stringify({ moved: { head: 9, offset: 'o', turn: { line: ['a'], patienceMs: 1 } } })],
  ['hello without limits', JSON.stringify({ hello: { ...hello, limits: undefined } })],
  ['a backend that is no string', JSON.stringify({ hello: { ...hello, backend: 7 } })],
  ['a head that is no integer', JSON.stringify({ moved: { head: '9', offset: 'o' } })],
  ['a head beyond 2^53', '{"moved":{"head":9007199254740993,"offset":"o"}}'],
  ['no offset', JSON.stringify({ ack: { push: 1, head: 2 } })],
  ['a refusal without a problem', JSON.stringify({ refuse: { push: 1, problem: 'no' } })],
  ['events without a batch', JSON.stringify({ events: { parent: 0, head: 1, offset: 'o' } })],
  ['events that are no array', `${JSON.stringify({ events: { parent: 0, head: 1, offset: 'o' } })}\n{}`],
  ['events that were cut', `${JSON.stringify({ events: { parent: 0, head: 1, offset: 'o' } })}\n[{"a"`],
])('%s is no frame', (_, text) => {
  expect(() => parseFrame(text)).toThrow()
})
