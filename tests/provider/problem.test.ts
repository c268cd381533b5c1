// The problems that an app receives, and how often.
import { describe, expect, test } from 'vitest'
import { ResponseError } from '../../client/src/http/errors.ts'
import { problemType } from '../../client/src/protocol/index.js'
import { makeProblems, type Problem, problemOf } from '../../client/src/store/problem.ts'

const URL = 'http://127.0.0.1/v1/stream/a/b'
/** The problem from an answer to `HEAD`, which has no body. */
const bare = problemOf(new ResponseError(URL, 401, { type: problemType('unauthorized'), reason: 'missing' }, 0), 1_000)
const refusal = { title: 'Unauthorized', detail: 'A bearer token is required.', reason: 'missing' }
const explained = problemOf(new ResponseError(URL, 401, refusal, 0), 2_000)

const told = () => {
  const all: (Problem | undefined)[] = []
  return { all, problems: makeProblems((problem) => void all.push(problem)) }
}

describe('a problem that several requests meet', () => {
  test('is reported once, and again with the answer that explains it', () => {
    const { all, problems } = told()
    for (const problem of [bare, bare, explained, bare, explained]) problems.reading(problem)
    expect(all).toEqual([bare, explained])
    problems.reading(undefined)
    expect(all).toEqual([bare, explained, undefined])
  })

  test('is reported once if the answer that explains it comes first', () => {
    const { all, problems } = told()
    for (const problem of [explained, bare]) problems.reading(problem)
    expect(all).toEqual([explained])
  })

  test('is reported once, whichever address of the server it comes from', () => {
    const { all, problems } = told()
    const at = (url: string) => problemOf(new ResponseError(url, 401, refusal, 0), 1_000)
    const incarnation = at(URL.replace('/stream/', '/incarnation/').concat('/0000-0000-an-id'))
    for (const problem of [explained, incarnation]) problems.reading(problem)
    problems.writing(explained)
    expect(all).toEqual([explained])
    const elsewhere = at('http://upstream.example/v1/stream/a/b')
    problems.writing(elsewhere)
    expect(all).toEqual([explained, elsewhere])
  })
})
