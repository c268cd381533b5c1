// The vectors of spec/, which Rust and TypeScript must both pass. spec/README.md explains their format.
import { describe, expect, test } from 'vitest'
import { isTransient, ResponseError, toPushError } from '../../client/src/http/errors.ts'
import {
  backendIdIn,
  checkName,
  encodeUpstream,
  fence,
  firstUnlinked,
  headerBody,
  problemType,
  storePath,
  urlPath,
} from '../../client/src/protocol/index.js'
import { readPage } from '../../client/src/reading/page.ts'
import { decodeEvent } from '../../client/src/store/event.ts'
import { problemOf } from '../../client/src/store/problem.ts'
import type { Event } from '../support/events.ts'
import { filesIn, read } from '../support/pages.ts'

type Vector<Input, Result> = Input & { readonly case: string } & (
    | { readonly expect: Result }
    | { readonly rust: unknown; readonly typescript: Result; readonly why: string }
  )

const ran = new Set<string>()

const vectors = <Input, Result>(file: string): Vector<Input, Result>[] => {
  ran.add(file)
  return JSON.parse(read(`spec/${file}`))
}
const resultOf = <Input, Result>(vector: Vector<Input, Result>): Result =>
  'expect' in vector ? vector.expect : vector.typescript

describe('names.json', () => {
  const reasons: Readonly<Record<string, RegExp>> = {
    empty: /^tenant "" cannot be part of a URL/,
    dots: /cannot be part of a URL/,
    'too-long': /bytes long/,
  }

  test.each(
    vectors<{ name: string; times: number; url: string }, { encoded: string } | { error: string }>('names.json'),
  )('$case', async (vector) => {
    const [name, url] = [vector.name, vector.url].map((text) => text.repeat(vector.times)) as [string, string]
    const result = resultOf(vector)
    if ('error' in result) {
      expect(() => checkName('tenant', name)).toThrow(reasons[result.error]!)
      await expect(storePath('t', name)).rejects.toThrow()
      return
    }
    expect(await encodeUpstream(name)).toBe(result.encoded)
    expect(await storePath(name, name)).toBe(`${result.encoded}/${result.encoded}`)
    expect(urlPath(name, 's')).toBe(`${url}/s`)
  })
})

describe('fence.json', () => {
  test.each(vectors<{ parentSeqNum: number }, { fence: string }>('fence.json'))('$case', (vector) => {
    expect({ fence: fence(vector.parentSeqNum) }).toEqual(resultOf(vector))
  })
})

describe('header.json', () => {
  test.each(vectors<{ message: string }, { backendId: string | null; written?: true }>('header.json'))(
    '$case',
    (vector) => {
      const { backendId, written } = resultOf(vector)
      expect(backendIdIn(JSON.parse(vector.message)) ?? null).toBe(backendId)
      if (written) expect(headerBody(backendId!)).toBe(`[${vector.message}]`)
    },
  )
})

describe('chain.json', () => {
  type Result =
    | { result: 'chain'; header: string | null; events: number; head: number }
    | { result: 'link'; index: number; seqNum: number; parentSeqNum: number; before: number }
    | { result: 'not-an-event'; index: number }

  test.each(vectors<{ messages: string[] }, Result>('chain.json'))('$case', (vector) => {
    const messages = vector.messages.map((text) => JSON.parse(text) as unknown)
    const page = readPage(messages, 0)
    const result = resultOf(vector)
    switch (result.result) {
      case 'chain': {
        const { header, events, head } = result
        expect(page).toMatchObject({ _tag: 'Linked', backendId: header ?? undefined })
        const found = page._tag === 'Linked' ? page.events : []
        expect([found.length, found.at(-1)?.seqNum ?? 0]).toEqual([events, head])
        return
      }
      case 'link': {
        const { index, seqNum, parentSeqNum, before } = result
        expect(page).toMatchObject({
          _tag: 'Broken',
          expected: `an event whose parentSeqNum is ${before}`,
          found: `seqNum ${seqNum} with parentSeqNum ${parentSeqNum}`,
        })
        expect(readPage(messages.slice(0, index), 0)._tag).toBe('Linked')
        expect(readPage(messages.slice(0, index + 1), 0)._tag).toBe('Broken')
        return
      }
      case 'not-an-event':
        expect(page).toMatchObject({ _tag: 'Foreign', found: JSON.stringify(messages[result.index]) })
        expect(readPage(messages.slice(0, result.index), 0)._tag).toBe('Linked')
    }
  })
})

describe('batch.json', () => {
  type Result = { result: 'linked' } | { result: 'unlinked'; index: number } | { result: 'not-checked' }
  const all = vectors<{ body: string }, Result>('batch.json')
  const checked = all.filter((vector) => resultOf(vector).result !== 'not-checked')

  test('most cases concern the Worker alone, but not all', () => {
    expect(checked.length).toBeGreaterThan(10)
  })

  test.each(checked)('$case', (vector) => {
    const events = (JSON.parse(vector.body) as unknown[]).map((message) => decodeEvent(message) as Event)
    const index = firstUnlinked(events)
    expect(index === undefined ? { result: 'linked' } : { result: 'unlinked', index }).toEqual(resultOf(vector))
  })
})

describe('problems.json', () => {
  type Result = { tag: string; retries: boolean; pushError: string; problemKind: string }

  test.each(vectors<{ kind: string; status: number; fields: Record<string, unknown> }, Result>('problems.json'))(
    '$case',
    (vector) => {
      const { kind, status, fields } = vector
      const { tag, ...expected } = resultOf(vector)
      const failure = new ResponseError(
        'https://sync.example.com',
        status,
        { ...fields, type: problemType(kind), status, _tag: tag },
        0,
      )
      expect({
        retries: isTransient(failure),
        pushError: toPushError(failure)._tag,
        problemKind: problemOf(failure, undefined).kind,
      }).toEqual(expected)
    },
  )
})

test('every file of spec/ has run, and its cases have names of their own', () => {
  const files = filesIn('spec', /\.json$/).map((file) => file.replace('spec/', ''))
  expect([...ran].sort()).toEqual(files.sort())
  for (const file of files) {
    const names = (JSON.parse(read(`spec/${file}`)) as { case: string }[]).map((one) => one.case)
    expect(new Set(names).size).toBe(names.length)
  }
})
