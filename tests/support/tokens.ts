// Tokens of every kind, also wrong ones, signed by Node's own crypto.
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export type Claims = Record<string, unknown>

/** A key pair with its signature function. */
export interface Signer {
  readonly alg: string
  readonly kid: string
  readonly sign: (signed: string) => Buffer
  /** The public key as a JWK. */
  readonly jwk: Record<string, unknown>
  readonly publicKey: KeyObject
}

export const rsa = (kid: string, modulusLength = 2048): Signer => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength })
  return signer('RS256', kid, publicKey, (signed) => sign('sha256', Buffer.from(signed), privateKey))
}

export const ec = (kid: string): Signer => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return signer('ES256', kid, publicKey, (signed) =>
    sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  )
}

export const ed = (kid: string): Signer => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return signer('EdDSA', kid, publicKey, (signed) => sign(null, Buffer.from(signed), privateKey))
}

export const hmac =
  (secret: string | Buffer, hash = 'sha256') =>
  (signed: string) =>
    createHmac(hash, secret).update(signed).digest()

const signer = (alg: string, kid: string, publicKey: KeyObject, sign: Signer['sign']): Signer => ({
  alg,
  kid,
  sign,
  publicKey,
  jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' },
})

export const base64url = (text: string | Buffer): string => Buffer.from(text).toString('base64url')

/** Any header, any payload, any signature. */
export const token = (header: unknown, payload: unknown, sign: (signed: string) => Buffer | string): string => {
  const signed = `${base64url(JSON.stringify(header))}.${base64url(typeof payload === 'string' ? payload : JSON.stringify(payload))}`
  const signature = sign(signed)
  return `${signed}.${typeof signature === 'string' ? signature : base64url(signature)}`
}

export const signedBy = (by: Signer, claims: Claims, header: Record<string, unknown> = {}): string =>
  token({ alg: by.alg, kid: by.kid, typ: 'JWT', ...header }, claims, by.sign)

export const now = (): number => Math.floor(Date.now() / 1000)

/** The secret of a Worker whose tokens are the test's own. */
export const SECRET = 'a secret of this test, long enough for its hash'

/** The settings of a Worker that takes `hs256` tokens. */
export const JWT = { AUTH_MODE: 'jwt', JWT_SECRET: SECRET }

/** A token that is good for ten minutes, unless its claims say otherwise. */
export const hs256 = (claims: Claims, secret = SECRET): string =>
  token({ alg: 'HS256', typ: 'JWT' }, { exp: now() + 600, ...claims }, hmac(secret))

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
