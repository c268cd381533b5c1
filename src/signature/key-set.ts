// A set of public keys (RFC 7517 §5): which of them can be used here, and whether one of them signed a token.
import { base64url, type CryptoKey, compactVerify, importJWK, type JWK } from 'jose'

/** A key that checks signatures. */
export interface Key {
  readonly key: CryptoKey | Uint8Array
  /** The signatures that it checks, and nothing else. The first one names it. */
  readonly algorithms: readonly string[]
  readonly id?: string | undefined
}

/** What a token's header says of its signature. */
export interface Signed {
  readonly token: string
  readonly algorithm: string
  readonly keyId: string | undefined
}

/** Keys tried for a token that names none. */
const MAX_TRIED = 8

/** The kinds of keys, and their algorithms. RFC 9864 gives EdDSA with Ed25519 its newer name. */
const KINDS = [
  { kty: 'RSA', crv: undefined, algorithms: ['RS256'] },
  { kty: 'EC', crv: 'P-256', algorithms: ['ES256'] },
  { kty: 'OKP', crv: 'Ed25519', algorithms: ['EdDSA', 'Ed25519'] },
]

const algorithmsOf = (jwk: JWK): readonly string[] | undefined =>
  KINDS.find(({ kty, crv }) => kty === jwk.kty && (crv === undefined || crv === jwk.crv))?.algorithms

/** The keys that can be used, not imported yet. Keys for other purposes may be in the set. Throws if none can be used. */
export function usableKeys(json: string): JWK[] {
  let set: { keys?: unknown } | null
  try {
    set = JSON.parse(json)
  } catch {
    throw new Error('is not JSON')
  }
  const keys: unknown = set?.keys
  if (!Array.isArray(keys)) throw new Error('must be an object with an array `keys`')
  const reasons = keys.map((key) => whyUnusable(Object(key)))
  const usable = keys.filter((_, index) => reasons[index] === undefined)
  if (usable.length > 0) return usable
  const why = reasons.map((reason, index) => `key ${index} ${reason}`).join('; ')
  throw new Error(`has no key that can be used: ${why || 'its array `keys` is empty'}`)
}

function whyUnusable(jwk: JWK): string | undefined {
  if (jwk.d !== undefined) return 'is a private key: use the public one instead'
  if ((jwk.use ?? 'sig') !== 'sig') return 'is not for signatures (`use`)'
  if (Array.isArray(jwk.key_ops) && !jwk.key_ops.includes('verify')) return 'is not for checking signatures (`key_ops`)'
  if (jwk.kty === 'oct') return 'is a secret, which belongs in JWT_SECRET and not in a key set'
  const algorithms = algorithmsOf(jwk)
  if (!algorithms) return 'is of a kind that is not supported. Supported are RSA, EC on P-256, and OKP Ed25519'
  if (jwk.alg != null && !algorithms.includes(jwk.alg)) {
    return 'has an `alg` that is not its algorithm (RS256 for RSA, ES256 for EC, EdDSA for OKP)'
  }
  if (jwk.kty === 'RSA' && bits(jwk.n) < 2_048) return 'is an RSA key of less than 2048 bits'
  return undefined
}

function bits(modulus: unknown): number {
  try {
    const bytes = base64url.decode(String(modulus))
    return 8 * bytes.subarray(bytes.findIndex((byte) => byte !== 0)).length
  } catch {
    return 0
  }
}

/** Imports keys, but only the members that make them. Leaves out a key that is none, such as a point off its curve. */
export async function importKeys(jwks: readonly JWK[]): Promise<Key[]> {
  const keys: Key[] = []
  for (const jwk of jwks) {
    const { kty, crv, n, e, x, y, kid: id } = jwk
    const algorithms = algorithmsOf(jwk) ?? []
    try {
      keys.push({ key: await importJWK({ kty, crv, n, e, x, y } as JWK, algorithms[0]), algorithms, id })
    } catch {
      console.error(`the key ${JSON.stringify(id)} of a key set can't be used`)
    }
  }
  return keys
}

/** The keys that may have signed this token. */
export const candidates = (keys: readonly Key[], { algorithm, keyId }: Signed): Key[] =>
  keys
    .filter(({ algorithms, id }) => algorithms.includes(algorithm) && (keyId === undefined || id === keyId))
    .slice(0, MAX_TRIED)

/** Whether one of these keys signed the token. */
export async function isSignedBy(keys: readonly Key[], { token, algorithm }: Signed): Promise<boolean> {
  for (const { key } of keys) {
    try {
      await compactVerify(token, key, { algorithms: [algorithm] })
      return true
    } catch {
      // What jose can't check is no signature.
    }
  }
  return false
}
