// The chaos clients must believe the Worker and nobody else.
import { expect, test } from 'vitest'
import { isAcknowledgement, isRead, messagesOf, problemOf } from './genuine.ts'

const answer = (status: number, headers: Record<string, string> = {}, redirected = false) => ({
  status,
  redirected,
  headers: new Headers(headers),
})

test('an acknowledgement is a 200 that names the batch, the backend and a head behind it', () => {
  const batch = { first: 3, last: 5, backendId: 'x' }
  const genuine = { 'livestore-accepted': '3-5', 'livestore-backend-id': 'x', 'livestore-head': '5' }
  expect(isAcknowledgement(answer(200, genuine), batch)).toBe(true)
  expect(
    isAcknowledgement(answer(200, { ...genuine, 'livestore-head': '9' }), { ...batch, backendId: undefined }),
  ).toBe(true)
  expect(isAcknowledgement(answer(200, genuine, true), batch)).toBe(false)
  expect(isAcknowledgement(answer(201, genuine), batch)).toBe(false)
  expect(isAcknowledgement(answer(200), batch)).toBe(false)
  expect(isAcknowledgement(answer(200, { ...genuine, 'livestore-accepted': '3-4' }), batch)).toBe(false)
  expect(isAcknowledgement(answer(200, { ...genuine, 'livestore-backend-id': 'y' }), batch)).toBe(false)
  expect(isAcknowledgement(answer(200, { ...genuine, 'livestore-head': '4' }), batch)).toBe(false)
})

test('a refusal is a problem of the Worker, and not the answer to a redirect', () => {
  const json = { 'content-type': 'application/problem+json' }
  const ours = JSON.stringify({ type: 'urn:headwater:problem:server-ahead', _tag: 'ServerAheadError' })
  expect(problemOf(answer(409, json), ours)).toMatchObject({ _tag: 'ServerAheadError' })
  expect(problemOf(answer(409, json, true), ours)).toBeUndefined()
  expect(problemOf(answer(409, { 'content-type': 'application/json' }), ours)).toBeUndefined()
  expect(
    problemOf(answer(409, json), JSON.stringify({ type: 'https://example.com/', _tag: 'ServerAheadError' })),
  ).toBeUndefined()
  expect(problemOf(answer(409, json), '<html>')).toBeUndefined()
})

test('a page has the Worker’s header, and messages', () => {
  expect([
    isRead(answer(200, { 'livestore-head': '0' })),
    isRead(answer(200)),
    isRead(answer(204, { 'livestore-head': '1' })),
  ]).toEqual([true, false, false])
  const event = { name: 'chaos', args: {}, seqNum: 1, parentSeqNum: 0, clientId: 'c', sessionId: 's' }
  expect(messagesOf(JSON.stringify([{ livestore: { backendId: 'x', version: 1 } }, event]))).toHaveLength(2)
  for (const body of ['null', '"ok"', '{"error":"x"}', '[null]', '[{"message":"hi"}]', '<html>', ''])
    expect(messagesOf(body)).toBeUndefined()
})
