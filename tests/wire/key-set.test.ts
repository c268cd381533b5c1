// Usable public keys and their use. The tests need no Worker, because jose and Web Crypto are the same in Node.
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { candidates, importKeys, isSignedBy, usableKeys } from '../../src/signature/key-set.ts'
import { ec, ed, hmac, now, rsa, type Signer, signedBy, token } from '../support/tokens.ts'

const signers = { rsa: rsa('r'), ec: ec('e'), ed: ed('o') }
const { rsa: R, ec: E, ed: O } = { rsa: signers.rsa.jwk, ec: signers.ec.jwk, ed: signers.ed.jwk }
const setOf = (...keys: unknown[]) => JSON.stringify({ keys, public_certs: [] })
const without = (key: Record<string, unknown>, ...names: string[]) =>
  Object.fromEntries(Object.entries(key).filter(([name]) => !names.includes(name)))

test.each<[why: string, key: unknown]>([
  ['private', { ...R, d: 'secret' }],
  ['for signatures', { ...R, use: 'enc' }],
  ['algorithm', { ...R, alg: 'RS512' }],
  ['algorithm', { ...R, alg: 'PS256' }],
  ['algorithm', { ...R, alg: 'HS256' }],
  ['algorithm', { ...E, alg: 'EdDSA' }],
  ['2048 bits', rsa('short', 1024).jwk],
  ['2048 bits', { ...R, n: Buffer.concat([Buffer.alloc(128), Buffer.alloc(128, 7)]).toString('base64url') }],
  ['2048 bits', without(R, 'n')],
  ['2048 bits', { ...R, n: 'no base64!' }],
  ['checking signatures', { ...without(E, 'use'), key_ops: ['sign'] }],
  ['kind', { ...E, crv: 'P-384' }],
  ['kind', { ...O, crv: 'X25519' }],
  ['kind', {}],
  ['kind', { kty: { toString: 1 }, crv: { toString: 1 } }],
  ['kind', 'key'],
  ['kind', null],
  ['secret', { kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' }],
])('an unusable key is refused with the reason: %s, %#', (why, key) => {
  expect(() => usableKeys(setOf(key))).toThrow(why)
  expect(usableKeys(setOf(key, O))).toEqual([O])
})

test.each(['', '[]', '{}', 'null', '7', '{"keys":{}}'])('text that is no key set (%j) is refused', (json) => {
  expect(() => usableKeys(json)).toThrow(json === '' ? 'is not JSON' : 'array `keys`')
})

test('a set without a key is refused with the reason', () => {
  expect(() => usableKeys(setOf())).toThrow('its array `keys` is empty')
})

test('empty or unknown members do not make a key unusable', async () => {
  const bare = [R, E, O].map((key) => without(key, 'use', 'alg', 'kid'))
  const odd = { ...without(E, 'kid'), use: null, alg: null, key_ops: 7, ext: 'yes', x5c: [], key: 'value' }
  const imported = await importKeys(
    usableKeys(setOf(...bare, odd, { ...without(O, 'use'), key_ops: ['verify', 'sign'] })),
  )
  expect(imported.map(({ id, algorithms }) => [id, algorithms[0]])).toEqual([
    [undefined, 'RS256'],
    [undefined, 'ES256'],
    [undefined, 'EdDSA'],
    [undefined, 'ES256'],
    ['o', 'EdDSA'],
  ])
})

test('any text parses as a key set or fails with the reason', () => {
  const key = fc.record(
    {
      kty: fc.constantFrom<unknown>('RSA', 'EC', 'OKP', 'oct', 7, null),
      crv: fc.constantFrom<unknown>('P-256', 'Ed25519', '__proto__', {}),
      key_ops: fc.jsonValue(),
      use: fc.jsonValue(),
      alg: fc.jsonValue(),
      n: fc.jsonValue(),
      kid: fc.jsonValue(),
    },
    { requiredKeys: [] },
  )
  const json = fc.oneof(
    fc.string(),
    fc.json(),
    fc.array(fc.oneof(key, fc.jsonValue())).map((keys) => JSON.stringify({ keys })),
  )
  fc.assert(
    fc.property(json, (text) => {
      try {
        expect(usableKeys(text).length).toBeGreaterThan(0)
      } catch (error) {
        expect((error as Error).message).toMatch(/^(is not JSON|must be an object|has no key)/)
      }
    }),
  )
})

test('a key that contradicts its own type is left out and logged', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {})
  const broken = [
    { ...E, x: Buffer.alloc(32, 7).toString('base64url') }, // not on the curve
    { ...E, x: Buffer.alloc(31, 7).toString('base64url') },
    without(E, 'y'),
    without(R, 'e'),
    { ...O, x: 'AAAA' },
  ]
  const imported = await importKeys(usableKeys(setOf(...broken, R)))
  expect(imported.map(({ id }) => id)).toEqual(['r'])
  expect(log.mock.calls).toEqual(['e', 'e', 'e', 'r', 'o'].map((id) => [`the key "${id}" of a key set can't be used`]))
  log.mockRestore()
})

const claims = { exp: now() + 600 }
const signed = (by: Signer, header: Record<string, unknown> = {}) => {
  const { alg, kid } = { alg: by.alg, kid: by.kid, ...header } as { alg: string; kid: string | undefined }
  return { token: signedBy(by, claims, header), algorithm: alg, keyId: kid }
}

test('a key checks only signatures of its own algorithm, whatever the token says', async () => {
  const keys = await importKeys(usableKeys(setOf(R, E, O)))
  for (const signer of Object.values(signers)) {
    const right = signed(signer)
    expect(await isSignedBy(candidates(keys, right), right)).toBe(true)
    // A key of another kind, even if the Worker would try it
    for (const other of keys) expect(await isSignedBy([other], right)).toBe(other.id === signer.kid)
    // Another algorithm than the token's
    expect(await isSignedBy(keys, { ...right, algorithm: 'HS256' })).toBe(false)
  }
  const newer = signed(signers.ed, { alg: 'Ed25519' })
  expect(await isSignedBy(candidates(keys, newer), newer)).toBe(true)
  for (const alg of ['PS256', 'RS512']) {
    const wrong = signed(signers.rsa, { alg })
    expect(candidates(keys, wrong)).toEqual([])
    expect(await isSignedBy(keys, wrong)).toBe(false)
  }
  const confused = token({ alg: 'HS256' }, claims, hmac(JSON.stringify(R)))
  expect(await isSignedBy(keys, { token: confused, algorithm: 'HS256', keyId: undefined })).toBe(false)
})

test('a token that names a key has that candidate, and a token without a name has at most eight', async () => {
  const keys = await importKeys(
    usableKeys(setOf(...Array.from({ length: 10 }, (_, i) => ({ ...E, kid: `e${i}` })), without(E, 'kid'))),
  )
  const ids = (keyId: string | undefined) =>
    candidates(keys, { token: '', algorithm: 'ES256', keyId }).map(({ id }) => id)
  expect(ids('e9')).toEqual(['e9'])
  expect(ids('e10')).toEqual([])
  expect(ids(undefined)).toEqual(['e0', 'e1', 'e2', 'e3', 'e4', 'e5', 'e6', 'e7'])
})
