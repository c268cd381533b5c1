// A store's path below the upstream. core/src/names.rs must make the same path (spec/names.json).
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeUpstream, storePath } from '../../client/src/protocol/names.js'
import { seed } from '../support/random.ts'

/** The cases of core/tests/names.rs, `a_name_keeps_its_encoding`. */
test.each([
  ['my-store', 'my-store'],
  ['Todo_List.v2', 'Todo_List.v2'],
  ['.', '~2E'],
  ['..', '~2E.'],
  ['__ds', '~5F_ds'],
  ['a/b', 'a~2Fb'],
  ['a%2fb', 'a~252fb'],
  ['~', '~7E'],
  ['\0', '~00'],
  ['é😀', '~C3~A9~F0~9F~98~80'],
  ['user@example.com', 'user~40example.com'],
  ['x'.repeat(1000), '~h44f8354494a5ba03ba1792a8d3e9c534c47a9181980fde7a3f44b06ef2ae7c7f'],
  ['x'.repeat(200), 'x'.repeat(200)],
])('%s is encoded as %s', async (name, encoded) => {
  expect(await encodeUpstream(name)).toBe(encoded)
})

describe('a name of any characters', () => {
  const pieces = ['..', '%2f', '%2F', '~2F', '~h', '__ds', '\0', '😀', '/', '.', '_', '-', 'a', 'Z']
  const hostile = fc
    .array(fc.oneof(fc.constantFrom(...pieces), fc.string({ unit: 'grapheme', maxLength: 30 })), {
      minLength: 1,
      maxLength: 8,
    })
    .map((_) => _.join(''))
  const check = (property: fc.IAsyncProperty<unknown>) => {
    console.log(`SEED=${seed}`)
    return fc.assert(property, { seed, numRuns: 2_000 })
  }

  test('property: becomes one plain segment', () =>
    check(
      fc.asyncProperty(hostile, async (name) => {
        expect(await encodeUpstream(name)).toMatch(/^(?![._])[A-Za-z0-9._~-]{0,200}$/)
      }),
    ))

  test('property: can be decoded again, so no two names meet', () =>
    check(
      fc.asyncProperty(hostile, async (name) => {
        const encoded = await encodeUpstream(name)
        if (encoded.startsWith('~h')) expect(encoded).toMatch(/^~h[0-9a-f]{64}$/)
        else expect(decodeURIComponent(encoded.replaceAll('~', '%'))).toBe(name)
      }),
    ))
})

describe('storePath', () => {
  test.each([
    ['', 's'],
    ['t', ''],
    ['..', 's'],
    ['t', '.'],
    ['t', '\ud800'],
    ['t', 'é'.repeat(2_049)],
  ])('refuses %s/%s', async (tenant, store) => {
    await expect(storePath(tenant, store)).rejects.toThrow(/cannot be part|well-formed|bytes long/)
  })

  test('accepts the longest name', async () => {
    expect(await storePath('t', 'é'.repeat(2_048))).toMatch(/^t\/~h[0-9a-f]{64}$/)
  })
})
