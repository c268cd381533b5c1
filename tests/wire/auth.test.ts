// Authentication: tokens of every kind against the real Worker.
import { createServer } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Listening, listen, type Server, startRustUpstream, startWorker } from '../harness/index.ts'
import { sse } from '../support/sse.ts'
import { chain, event, json, Store } from '../support/store.ts'
import {
  base64url,
  bearer,
  type Claims,
  ec,
  ed,
  hmac,
  JWT,
  now,
  rsa,
  SECRET,
  type Signer,
  signedBy,
  token,
} from '../support/tokens.ts'
import type { Parts } from './parts.ts'

const ISSUER = 'https://issuer.test/'
const AUDIENCE = 'https://headwater.test'

const keys = { rsa: rsa('rsa-1'), ec: ec('ec-1'), ed: ed('ed-1') }
const strangers = { rsa: rsa('rsa-1'), ec: ec('ec-1'), ed: ed('ed-1') }
const weak = rsa('weak', 1024)
const listed = { keys: [...Object.values(keys), weak].map(({ jwk }) => jwk) }

const parts = {} as Parts
let upstream: Server
beforeAll(async () => {
  upstream = await startRustUpstream()
  parts.upstream = upstream
  parts.worker = await startWorker({
    upstreamUrl: upstream.url,
    vars: {
      ...JWT,
      JWT_JWKS: JSON.stringify(listed),
      JWT_ISSUER: ISSUER,
      JWT_AUDIENCE: `${AUDIENCE}, other`,
    },
  })
  await new Store(parts, { name: 'notes' }).push([event(1)], bearer(valid()))
})
afterAll(async () => {
  await parts.worker?.stop()
  await upstream?.stop()
})

const claims = (changes: Claims = {}): Claims =>
  Object.fromEntries(
    Object.entries({
      iss: ISSUER,
      aud: AUDIENCE,
      exp: now() + 600,
      tenant: 'acme',
      stores: ['notes'],
      scope: 'read write admin',
      ...changes,
    }).filter(([, value]) => value !== undefined),
  )
const signed = hmac(SECRET)
const hs256 = (changes: Claims = {}, header: Record<string, unknown> = {}) =>
  token({ alg: 'HS256', typ: 'JWT', ...header }, claims(changes), signed)
const valid = () => hs256()
const by = (signer: Signer, changes: Claims = {}, header: Record<string, unknown> = {}) =>
  signedBy(signer, claims(changes), header)
/** The same token with one bit of the signature flipped. */
const bent = (token: string): string => {
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const bytes = Buffer.from(signature, 'base64url')
  bytes[5]! ^= 1
  return [header, payload, base64url(bytes)].join('.')
}
/** The claims of one token under the signature of another. */
const grafted = (onto: string, changes: Claims): string => {
  const [header, , signature] = onto.split('.') as [string, string, string]
  return [header, base64url(JSON.stringify(claims(changes))), signature].join('.')
}
const pem = (signer: Signer) => signer.publicKey.export({ type: 'spki', format: 'pem' })

type Case = [
  name: string,
  headers: () => Record<string, string>,
  expected: number | [number, string],
  request?: Request,
]
type Request = { method?: string; tenant?: string; store?: string; query?: string }
const of = (make: () => string) => () => bearer(make())
const closing = (changes: Claims) => ({ ...bearer(hs256(changes)), 'stream-closed': 'true' })
const head = (store: string): Request => ({ method: 'HEAD', store })

const cases: Case[] = [
  // Accepted
  ['HS256', of(valid), 200],
  ['HS256 that names a key', of(() => hs256({}, { kid: 'any' })), 200],
  ['RS256', of(() => by(keys.rsa)), 200],
  ['ES256', of(() => by(keys.ec)), 200],
  ['EdDSA', of(() => by(keys.ed)), 200],
  ['EdDSA by its newer name', of(() => by(keys.ed, {}, { alg: 'Ed25519' })), 200],
  ['no key named: each key of its kind is tried', of(() => by(keys.ec, {}, { kid: undefined })), 200],
  ['no typ', of(() => hs256({}, { typ: undefined })), 200],
  ['typ at+jwt', of(() => hs256({}, { typ: 'at+JWT' })), 200],
  ['the scheme in small letters', () => ({ authorization: `bearer ${valid()}` }), 200],
  ['expired within the leeway', of(() => hs256({ exp: now() - 50 })), 200],
  ['valid soon, within the leeway', of(() => hs256({ nbf: now() + 50 })), 200],
  ['exp with a fraction', of(() => hs256({ exp: now() + 600.5 })), 200],
  ['the other audience', of(() => hs256({ aud: 'other' })), 200],
  ['audiences in a list', of(() => hs256({ aud: ['someone', AUDIENCE] })), 200],
  ['all stores', of(() => hs256({ stores: '*' })), 200],
  ['a list with a star, for the store of that name', of(() => hs256({ stores: ['*'] })), 200, { store: '*' }],
  ['one store, not in a list', of(() => hs256({ stores: 'notes' })), 200],
  ['scopes in a list', of(() => hs256({ scope: ['read'] })), 200],
  ['claims that mean nothing here', of(() => hs256({ sub: 'me', iat: now() + 9_999, jti: 7, admin: true })), 200],

  // No token
  ['no header', () => ({}), [401, 'missing']],
  ['an empty header', () => ({ authorization: '' }), [401, 'missing']],
  ['another scheme', () => ({ authorization: `Basic ${base64url('user:password')}` }), [401, 'missing']],
  ['a token without a scheme', () => ({ authorization: valid() }), [401, 'missing']],
  ['a token in the query', () => ({}), [401, 'missing'], { query: 'offset=-1&access_token=TOKEN' }],
  ['a token in a cookie', () => ({ cookie: `CF_Authorization=${valid()}` }), [401, 'missing']],
  [
    'a token in a header that the Worker does not read',
    () => ({ 'cf-access-jwt-assertion': valid() }),
    [401, 'missing'],
  ],

  // Malformed tokens
  ['garbage', of(() => 'garbage'), [401, 'malformed']],
  ['two parts', of(() => valid().split('.').slice(0, 2).join('.')), [401, 'malformed']],
  ['four parts', of(() => `${valid()}.x`), [401, 'malformed']],
  ['five parts, encrypted', of(() => `${valid()}.x.y`), [401, 'malformed']],
  ['two tokens', of(() => `${valid()}, ${valid()}`), [401, 'malformed']],
  ['a header that is not JSON', of(() => `${base64url('{alg')}.${base64url('{}')}.AAAA`), [401, 'malformed']],
  ['a payload that is no object', of(() => token({ alg: 'HS256' }, '[1]', signed)), [401, 'malformed']],
  [
    'a signature in the other alphabet',
    of(() => `${valid().split('.').slice(0, 2).join('.')}.+/+/`),
    [401, 'malformed'],
  ],
  ['padding', of(() => `${valid()}=`), [401, 'malformed']],
  ['a critical extension', of(() => hs256({}, { crit: ['b64'], b64: false })), [401, 'malformed']],
  ['a token for something else', of(() => hs256({}, { typ: 'logout+jwt' })), [401, 'malformed']],
  [
    'alg given twice',
    of(() => {
      const unsigned = `${base64url('{"alg":"HS256","alg":"none"}')}.${base64url(JSON.stringify(claims()))}`
      return `${unsigned}.${base64url(signed(unsigned))}`
    }),
    [401, 'malformed'],
  ],
  ['an endless token', of(() => hs256({ padding: 'x'.repeat(14_000) })), [401, 'malformed']],

  // Algorithms
  ['alg none', of(() => token({ alg: 'none' }, claims(), () => '')), [401, 'algorithm']],
  ['alg None', of(() => token({ alg: 'None' }, claims(), () => '')), [401, 'algorithm']],
  ['alg none with a signature', of(() => token({ alg: 'none' }, claims(), signed)), [401, 'algorithm']],
  ['alg empty', of(() => token({ alg: '' }, claims(), signed)), [401, 'algorithm']],
  ['HS512', of(() => token({ alg: 'HS512' }, claims(), hmac(SECRET, 'sha512'))), [401, 'algorithm']],
  ['PS256', of(() => by(keys.rsa, {}, { alg: 'PS256' })), [401, 'algorithm']],
  [
    'HS256 by the RSA public key, as PEM',
    of(() => token({ alg: 'HS256', kid: 'rsa-1' }, claims(), hmac(pem(keys.rsa)))),
    [401, 'signature'],
  ],
  [
    'HS256 by the RSA public key, as JWK',
    of(() => token({ alg: 'HS256' }, claims(), hmac(JSON.stringify(keys.rsa.jwk)))),
    [401, 'signature'],
  ],
  [
    'HS256 by the RSA modulus',
    of(() => token({ alg: 'HS256' }, claims(), hmac(Buffer.from(String(keys.rsa.jwk['n']), 'base64url')))),
    [401, 'signature'],
  ],
  ['HS256 by an empty secret', of(() => token({ alg: 'HS256' }, claims(), hmac(''))), [401, 'signature']],
  ['RS256 with an HMAC', of(() => token({ alg: 'RS256', kid: 'rsa-1' }, claims(), signed)), [401, 'signature']],
  ['ES256 by the name of the RSA key', of(() => by(keys.ec, {}, { kid: 'rsa-1' })), [401, 'key']],
  ['RS256 with an ECDSA signature', of(() => by(keys.ec, {}, { alg: 'RS256', kid: 'rsa-1' })), [401, 'signature']],

  // Keys and signatures
  ['another secret', of(() => token({ alg: 'HS256' }, claims(), hmac(`${SECRET}!`))), [401, 'signature']],
  ['no signature', of(() => token({ alg: 'HS256' }, claims(), () => '')), [401, 'signature']],
  [
    'half a signature',
    of(() => token({ alg: 'HS256' }, claims(), (text) => signed(text).subarray(0, 16))),
    [401, 'signature'],
  ],
  ['HS256 with one bit flipped', of(() => bent(valid())), [401, 'signature']],
  ['RS256 with one bit flipped', of(() => bent(by(keys.rsa))), [401, 'signature']],
  ['ES256 with one bit flipped', of(() => bent(by(keys.ec))), [401, 'signature']],
  ['EdDSA with one bit flipped', of(() => bent(by(keys.ed))), [401, 'signature']],
  [
    'ES256 of zeros',
    of(() => token({ alg: 'ES256', kid: 'ec-1' }, claims(), () => Buffer.alloc(64))),
    [401, 'signature'],
  ],
  [
    'other claims under a good signature',
    of(() => grafted(valid(), { scope: 'read write admin', sub: 'other' })),
    [401, 'signature'],
  ],
  ["a stranger with our RSA key's name", of(() => by(strangers.rsa)), [401, 'signature']],
  ["a stranger with our EC key's name", of(() => by(strangers.ec)), [401, 'signature']],
  ["a stranger with our Ed25519 key's name", of(() => by(strangers.ed)), [401, 'signature']],
  ['a stranger who names no key', of(() => by(strangers.rsa, {}, { kid: undefined })), [401, 'signature']],
  ['an unknown key', of(() => by(rsa('unknown'))), [401, 'key']],
  ['a key that is too short', of(() => by(weak)), [401, 'key']],
  ['a key that comes with the token', of(() => by(strangers.rsa, {}, { jwk: strangers.rsa.jwk })), [401, 'signature']],
  [
    'a key that the token points to',
    of(() => by(strangers.rsa, {}, { kid: 'mine', jku: 'https://evil.test/jwks' })),
    [401, 'key'],
  ],

  // Time
  ['expired', of(() => hs256({ exp: now() - 61 })), [401, 'expired']],
  ['expired long ago', of(() => hs256({ exp: 0 })), [401, 'expired']],
  ['no exp', of(() => hs256({ exp: undefined })), [401, 'exp']],
  ['exp as text', of(() => hs256({ exp: String(now() + 600) })), [401, 'exp']],
  ['exp null', of(() => hs256({ exp: null })), [401, 'exp']],
  ['not valid yet', of(() => hs256({ nbf: now() + 120 })), [401, 'nbf']],
  ['nbf as text', of(() => hs256({ nbf: 'soon' })), [401, 'nbf']],

  // Issuer and audience
  ['another issuer', of(() => hs256({ iss: 'https://evil.test/' })), [401, 'iss']],
  ['an issuer with the same beginning', of(() => hs256({ iss: `${ISSUER}x` })), [401, 'iss']],
  ['no issuer', of(() => hs256({ iss: undefined })), [401, 'iss']],
  ['issuers in a list', of(() => hs256({ iss: [ISSUER] })), [401, 'iss']],
  ['another audience', of(() => hs256({ aud: 'someone' })), [401, 'aud']],
  ['no audience', of(() => hs256({ aud: undefined })), [401, 'aud']],
  ['no audience in the list', of(() => hs256({ aud: [] })), [401, 'aud']],

  // Tenant
  ['another tenant', of(() => hs256({ tenant: 'globex' })), [403, 'tenant']],
  ['the tenant in capitals', of(() => hs256({ tenant: 'ACME' })), [403, 'tenant']],
  ['an empty tenant', of(() => hs256({ tenant: '' })), [403, 'tenant']],
  ['a tenant that means all', of(() => hs256({ tenant: '*' })), [403, 'tenant']],
  ['no tenant', of(() => hs256({ tenant: undefined })), [403, 'claim']],
  ['tenants in a list', of(() => hs256({ tenant: ['acme'] })), [403, 'claim']],
  ['a tenant that is a number', of(() => hs256({ tenant: 7 })), [403, 'claim']],

  // Stores
  ['another store', of(() => hs256({ stores: ['other'] })), [403, 'store']],
  ['no store in the list', of(() => hs256({ stores: [] })), [403, 'store']],
  ['a list with a star, for another store', of(() => hs256({ stores: ['*'] })), [403, 'store']],
  ['a star among names', of(() => hs256({ stores: ['other', '*'] })), [403, 'store']],
  ['a star for the tenant', of(() => hs256({ tenant: '*' })), [403, 'tenant']],
  ['a star for the scope', of(() => hs256({ scope: '*' })), [403, 'scope']],
  ['a prefix with a star', of(() => hs256({ stores: ['no*'] })), [403, 'store']],
  ['stores in a text', of(() => hs256({ stores: 'other notes' })), [403, 'store']],
  ['a path', of(() => hs256({ stores: ['acme/notes'] })), [403, 'store']],
  ['no stores', of(() => hs256({ stores: undefined })), [403, 'claim']],
  ['a list with a number', of(() => hs256({ stores: ['notes', 7] })), [403, 'claim']],
  ['stores as an object', of(() => hs256({ stores: { notes: true } })), [403, 'claim']],

  // Scope
  ['no scope', of(() => hs256({ scope: undefined })), [403, 'claim']],
  ['an empty scope', of(() => hs256({ scope: '' })), [403, 'scope']],
  ['write alone, for a read', of(() => hs256({ scope: 'write' })), [403, 'scope']],
  ['another word with the same beginning', of(() => hs256({ scope: 'readonly' })), [403, 'scope']],
  ['the scope in capitals', of(() => hs256({ scope: 'READ' })), [403, 'scope']],
  ['read, for a HEAD', of(() => hs256({ scope: 'read' })), 200, head('notes')],
  ['write, for a HEAD', of(() => hs256({ scope: 'write' })), 403, head('notes')],
  ['read, for a push', of(() => hs256({ scope: 'read' })), [403, 'scope'], { method: 'POST' }],
  ['admin, for a push', of(() => hs256({ scope: 'admin' })), [403, 'scope'], { method: 'POST' }],
  ['write, for a push', of(() => hs256({ scope: 'write' })), 200, { method: 'POST' }],
  ['read, for a PUT', of(() => hs256({ scope: 'read' })), [403, 'scope'], { method: 'PUT' }],
  ['write, for a PUT', of(() => hs256({ scope: 'write' })), 200, { method: 'PUT' }],
  ['read and write, for a reset', of(() => hs256({ scope: 'read write' })), [403, 'scope'], { method: 'DELETE' }],
  [
    'write, for an archive',
    () => closing({ scope: 'write', stores: 'closed' }),
    [403, 'scope'],
    { method: 'POST', store: 'closed' },
  ],
  [
    'admin, for an archive',
    () => closing({ scope: 'admin', stores: 'closed' }),
    404,
    { method: 'POST', store: 'closed' },
  ],
  ['admin, for a reset', of(() => hs256({ scope: 'admin', stores: ['old'] })), 204, { method: 'DELETE', store: 'old' }],
]

const send = (
  headers: Record<string, string>,
  { method = 'GET', tenant = 'acme', store = 'notes', query = 'offset=-1' }: Request = {},
) => {
  const url = new Store(parts, { tenant, name: store }).url
  const push =
    method === 'POST' && !('stream-closed' in headers)
      ? { body: JSON.stringify([event(1)]), headers: { 'content-type': 'application/json', ...headers } }
      : { headers }
  return fetch(method === 'GET' ? `${url}?${query.replace('TOKEN', valid())}` : url, { method, ...push })
}

test.each(cases)('%s', async (_, headers, expected, request) => {
  const [status, reason] = Array.isArray(expected) ? expected : [expected, undefined]
  const response = await send(headers(), request)
  expect(response.status).toBe(status)
  if (reason === undefined) return
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(response.headers.get('cache-control')).toBe('no-store')
  const problem = await json<{ _tag: string; reason: string; detail: string }>(response)
  expect(problem).toMatchObject({ _tag: status === 401 ? 'UnauthorizedError' : 'ForbiddenError', reason })
  const challenge = response.headers.get('www-authenticate')
  if (status === 401) expect(challenge).toBe(reason === 'missing' ? 'Bearer' : 'Bearer error="invalid_token"')
  if (reason === 'scope') expect(challenge).toMatch(/^Bearer error="insufficient_scope", scope="(read|write|admin)"$/)
  expect(JSON.stringify(problem)).not.toContain(SECRET)
})

test('the health check and a browser’s preflight need no token', async () => {
  expect((await fetch(`${parts.worker.url}/health`)).status).toBe(200)
  const preflight = await new Store(parts).request('OPTIONS', {
    headers: {
      origin: 'https://app.test',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization',
    },
  })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization')
})

test('a live read ends when its token expires', async () => {
  const store = new Store(parts, { name: 'notes' })
  // The leeway is a minute. This token has a few seconds left.
  const response = await store.read('offset=-1&live=sse', bearer(hs256({ exp: now() - 54 })))
  expect(response.status).toBe(200)
  const heard: string[] = []
  // The read ends in good order, and long before the upstream would end it. The test's timeout checks that.
  for await (const { event } of sse(response)) heard.push(event)
  expect(heard).toContain('data')
  expect((await store.read('offset=-1', bearer(hs256({ exp: now() - 61 })))).status).toBe(401)
})

test('no log line and no error contains a token', async () => {
  const valuable = valid()
  const store = new Store(parts, { name: 'notes' })
  const texts: string[] = []
  for (const headers of [bearer(bent(valuable)), bearer(`${valuable}.x`)])
    texts.push(await (await store.read('offset=-1', headers)).text())
  texts.push(parts.worker.logs())
  for (const text of texts) {
    expect(text).not.toContain(valuable.split('.')[1])
    expect(text).not.toContain(SECRET)
  }
})

describe('keys that the issuer publishes', () => {
  let issuer: Listening
  let worker: Server | undefined
  let keySet: Signer[] = []
  let answer:
    | 'keys'
    | 'error'
    | 'redirect'
    | 'nothing'
    | 'no set'
    | 'only short keys'
    | 'an endless set'
    | 'half a set' = 'keys'
  let fetches = 0

  beforeAll(async () => {
    const server = createServer((request, response) => {
      fetches++
      expect(request.headers.authorization).toBeUndefined()
      if (answer === 'error') return response.writeHead(500).end()
      if (answer === 'redirect') return response.writeHead(302, { location: '/elsewhere' }).end()
      response.setHeader('content-type', 'application/json')
      if (answer === 'nothing') return response.end()
      if (answer === 'no set') return response.end('{"keys":7}')
      if (answer === 'only short keys') return response.end(JSON.stringify({ keys: [weak.jwk] }))
      if (answer === 'an endless set')
        return response.end(JSON.stringify({ keys: [keys.rsa.jwk], padding: 'x'.repeat(256 << 10) }))
      if (answer === 'half a set') return response.write('{"keys":[')
      response.end(JSON.stringify({ keys: keySet.map(({ jwk }) => jwk), public_certs: [] }))
    })
    issuer = await listen(server)
  })
  afterEach(async () => {
    await worker?.stop()
    worker = undefined
  })
  afterAll(() => issuer?.stop())

  const start = async (vars: Record<string, string> = {}) => {
    fetches = 0
    const url = `${issuer.url}/jwks`
    worker = await startWorker({ upstreamUrl: upstream.url, vars: { AUTH_MODE: 'jwt', JWT_JWKS_URL: url, ...vars } })
    return new Store({ ...parts, worker }, { name: 'notes' })
  }
  const read = (store: Store, token: string) => store.read('offset=-1', bearer(token))
  const statuses = (responses: Response[]) => responses.map(({ status }) => status)

  test('are fetched once for many requests, and still serve when the issuer is down', async () => {
    ;[keySet, answer] = [[keys.rsa, keys.ec, keys.ed], 'keys']
    const store = await start()
    const tokens = Object.values(keySet).flatMap((key) => Array.from({ length: 10 }, () => by(key)))
    const responses = await Promise.all(tokens.map((token) => read(store, token)))
    expect(new Set(statuses(responses))).toEqual(new Set([200]))
    expect(fetches).toBe(1)
    answer = 'error'
    expect((await read(store, by(keys.ec))).status).toBe(200)
    expect((await read(store, bent(by(keys.ec)))).status).toBe(401)
    expect((await read(store, hs256())).status).toBe(401)
    expect(fetches).toBe(1)
  })

  test('are fetched again for an unknown key, but not for each unknown key', async () => {
    const [old, renewed] = [rsa('2025'), rsa('2026')]
    ;[keySet, answer] = [[old], 'keys']
    const store = await start()
    expect((await read(store, by(old))).status).toBe(200)
    keySet = [renewed]
    // Until the Worker may fetch the keys again, it can't tell whether the key is good. It asks the client to try again.
    const early = await Promise.all(Array.from({ length: 20 }, () => read(store, by(renewed))))
    for (const response of early) {
      expect(response.status).toBe(503)
      expect(await json(response)).toMatchObject({ _tag: 'UnavailableError' })
    }
    expect(fetches).toBe(1)
    const wait = Number(early[0]?.headers.get('retry-after'))
    expect(wait).toBeGreaterThan(0)
    await new Promise((resolve) => setTimeout(resolve, wait * 1_000))
    const late = await Promise.all(Array.from({ length: 20 }, () => read(store, by(renewed))))
    expect(new Set(statuses(late))).toEqual(new Set([200]))
    expect(fetches).toBe(2)
    // The new set no longer has the old key.
    expect((await read(store, by(old))).status).toBe(401)
    // For a key that was never there, the Worker fetches once when it may. Then it refuses every token that names the key.
    const never = rsa('never')
    const asked = await read(store, by(never))
    expect(asked.status).toBe(503)
    await new Promise((resolve) => setTimeout(resolve, Number(asked.headers.get('retry-after')) * 1_000))
    const refused = await Promise.all(Array.from({ length: 20 }, () => read(store, by(never))))
    expect(new Set(statuses(refused))).toEqual(new Set([401]))
    expect(fetches).toBe(3)
    expect((await read(store, by(never))).status).toBe(401)
    expect(fetches).toBe(3)
  })

  test('are fetched again when a key was replaced under the same name', async () => {
    const [old, renewed] = [rsa('same'), rsa('same')]
    ;[keySet, answer] = [[old], 'keys']
    const store = await start()
    expect((await read(store, by(old))).status).toBe(200)
    keySet = [renewed]
    await expect.poll(async () => (await read(store, by(renewed))).status, { timeout: 15_000 }).toBe(200)
    expect(fetches).toBe(2)
    expect((await read(store, by(old))).status).toBe(401)
  })

  test('are not fetched for an expired token', async () => {
    ;[keySet, answer] = [[keys.rsa], 'keys']
    const store = await start()
    expect((await read(store, by(rsa('unknown'), { exp: now() - 61 }))).status).toBe(401)
    expect(fetches).toBe(0)
  })

  test.each(['error', 'redirect', 'nothing', 'no set', 'only short keys', 'an endless set'] as const)(
    'after a bad answer (%s), the Worker refuses no token for good',
    async (how) => {
      answer = how
      const store = await start()
      const response = await read(store, by(keys.rsa))
      expect(response.status).toBe(503)
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await json(response)).toMatchObject({ _tag: 'UnavailableError' })
      expect(fetches).toBe(1)
      await expect.poll(() => worker?.logs()).toContain('JWT_JWKS_URL: ')
    },
  )

  test('an issuer that stops in mid-answer: the Worker gives up after five seconds, and asks again', async () => {
    ;[keySet, answer] = [[keys.rsa], 'half a set']
    const store = await start()
    const begun = performance.now()
    expect((await read(store, by(keys.rsa))).status).toBe(503)
    expect(performance.now() - begun).toBeLessThan(9_000)
    answer = 'keys'
    expect((await read(store, by(keys.rsa))).status).toBe(200)
    expect(fetches).toBe(2)
  })

  test('check tokens with the unchanged claims of Clerk, Auth0 and Cloudflare Access', async () => {
    ;[keySet, answer] = [[keys.rsa], 'keys']
    const exp = now() + 60
    const clerk = await start({
      JWT_ISSUER: 'https://clerk.test',
      JWT_TENANT_CLAIM: 'o.id',
      JWT_STORES: '*',
      JWT_SCOPE: 'read write',
    })
    const session = {
      azp: 'https://app.test',
      exp,
      fva: [0, -1],
      iss: 'https://clerk.test',
      o: { id: 'acme', rol: 'admin' },
      sub: 'user_1',
      v: 2,
    }
    expect((await read(clerk, signedBy(keys.rsa, session))).status).toBe(200)
    expect((await read(clerk, signedBy(keys.rsa, { ...session, o: { id: 'globex' } }))).status).toBe(403)
    expect((await read(clerk, signedBy(keys.rsa, { ...session, o: undefined }))).status).toBe(403)
    await worker?.stop()

    const auth0 = await start({
      JWT_ISSUER: 'https://acme.auth0.test/',
      JWT_AUDIENCE: 'https://sync.test',
      JWT_TENANT_CLAIM: 'org_id',
      JWT_STORES: '*',
      JWT_SCOPE_CLAIM: 'permissions',
    })
    const access = {
      iss: 'https://acme.auth0.test/',
      aud: ['https://sync.test', 'https://acme.auth0.test/userinfo'],
      exp,
      azp: 'x',
      scope: 'openid',
      permissions: ['read'],
      org_id: 'acme',
    }
    expect((await read(auth0, signedBy(keys.rsa, access))).status).toBe(200)
    expect((await auth0.push(chain(1, 1), bearer(signedBy(keys.rsa, access)))).status).toBe(403)
    await worker?.stop()

    const cloudflare = await start({
      JWT_ISSUER: 'https://team.cloudflareaccess.test',
      JWT_AUDIENCE: 'aud-tag',
      JWT_HEADER: 'Cf-Access-Jwt-Assertion',
      JWT_TENANT: 'acme',
      JWT_STORES: '*',
      JWT_SCOPE: 'read write',
    })
    const assertion = signedBy(keys.rsa, {
      aud: ['aud-tag'],
      email: 'me@acme.test',
      exp,
      iss: 'https://team.cloudflareaccess.test',
      type: 'app',
      identity_nonce: 'x',
      sub: 'y',
    })
    expect((await cloudflare.read('offset=-1', { 'cf-access-jwt-assertion': assertion })).status).toBe(200)
    expect((await cloudflare.read('offset=-1', bearer(assertion))).status).toBe(401)
    const preflight = await cloudflare.request('OPTIONS')
    expect(preflight.headers.get('access-control-allow-headers')).toContain('cf-access-jwt-assertion')
  })
})
