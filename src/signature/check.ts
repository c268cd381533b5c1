// Whether a token's signature is right. `mod.rs` is the other side of this.
import type { JWK } from 'jose'
import { candidates, importKeys, isSignedBy, type Key, type Signed } from './key-set.ts'
import { publishedKeys, republishedKeys } from './published-keys.ts'

export { usableKeys } from './key-set.ts'

/** The keys of `JWT_SECRET` and `JWT_JWKS`: an isolate has one environment. */
let secretKeys: Key[] | undefined
let listedKeys: Key[] | undefined

/** `right`, or else why the token is refused, or the setting that is wrong, or in how many seconds to ask again. */
export type Verdict = 'right' | 'algorithm' | 'key' | 'signature' | 'JWT_JWKS' | number

export async function checkSignature(
  token: string,
  algorithm: string,
  keyId: string | undefined,
  secret: string | undefined,
  listed: JWK[] | undefined,
  url: string | undefined,
): Promise<Verdict> {
  const signed: Signed = { token, algorithm, keyId }
  if (algorithm === 'HS256') {
    // A secret has no name, whatever a token calls it.
    if (secret === undefined) return 'algorithm'
    secretKeys ??= [{ key: new TextEncoder().encode(secret), algorithms: ['HS256'] }]
    return (await isSignedBy(secretKeys, signed)) ? 'right' : 'signature'
  }
  if (!listed && !url) return 'algorithm'
  let tried = 0
  if (listed) {
    listedKeys ??= await importKeys(listed)
    if (listedKeys.length === 0) return 'JWT_JWKS'
    const keys = candidates(listedKeys, signed)
    if (await isSignedBy(keys, signed)) return 'right'
    tried += keys.length
  }
  if (url) {
    const keys = await publishedKeys(url, signed)
    if (typeof keys === 'number') return keys
    if (await isSignedBy(keys, signed)) return 'right'
    if (keys.length > 0 && (await isSignedBy(await republishedKeys(url, signed), signed))) return 'right'
    tried += keys.length
  }
  return tried > 0 ? 'signature' : 'key'
}
