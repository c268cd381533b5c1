// The keys that the issuer publishes, as this isolate remembers them.
//
// The Worker fetches them when it first needs them, every ten minutes after that, and when none of them signed a token, so
// that a rotation counts at once; but at most every five seconds, whatever tokens arrive. No token is refused for want of
// its key unless a fetch began after the key was first missed.
//
// jose's createRemoteJWKSet keeps none of this on Workers: docs/internals/adr/0016-jose-checks-signatures.md.
import { waitUntil } from 'cloudflare:workers'
import { candidates, importKeys, type Key, type Signed, usableKeys } from './key-set.ts'

/** The Worker fetches older keys again; meanwhile they serve. */
const FRESH_MS = 10 * 60_000
/** Keys that are older, because the issuer does not answer, are not believed any more. */
const STALE_MS = 60 * 60_000
/** The least time from the beginning of a fetch to that of the next. */
const PAUSE_MS = 5_000
/** How long the issuer may take. */
const FETCH_MS = 5_000
/** The longest key set in bytes. */
const MAX_SET_BYTES = 256 << 10
/** Names of missing keys remembered; beyond it they are forgotten, and missed anew. */
const MAX_MISSED = 64

let keys: Key[] | undefined
/** When the fetch began that brought `keys`. */
let fetchedAt = 0
/** When a fetch last began, and whether it is under way. */
let begunAt = 0
let underWay = false
/** Names that were not among the keys, and when they were first asked for. */
const missedAt = new Map<string | undefined, number>()

/** A fetch whose request the runtime has ended says nothing any more. */
const isUnderWay = () => underWay && Date.now() < begunAt + 2 * FETCH_MS
const isDue = () => !isUnderWay() && Date.now() >= begunAt + PAUSE_MS
const ageMs = () => Date.now() - fetchedAt
const known = (signed: Signed) => (keys && ageMs() < STALE_MS ? candidates(keys, signed) : [])

/** The keys that may have signed the token: none if it is certain that there is none, else in how many seconds to ask again. */
export async function publishedKeys(url: string, signed: Signed): Promise<Key[] | number> {
  const current = known(signed)
  if (current.length > 0 && ageMs() < 2 * FRESH_MS) {
    if (ageMs() >= FRESH_MS && isDue()) beginFetch(url)
    return current
  }
  const missed = miss(signed.keyId)
  await renew(url)
  const renewed = known(signed)
  if (renewed.length > 0 || (keys && fetchedAt >= missed)) return renewed
  return Math.max(Math.ceil((begunAt + PAUSE_MS - Date.now()) / 1_000), 1)
}

/** The keys for a token that none of those known has signed, if there are newer ones: an issuer may replace a key in its place. */
export async function republishedKeys(url: string, signed: Signed): Promise<Key[]> {
  const before = fetchedAt
  await renew(url)
  return fetchedAt > before ? known(signed) : []
}

/** When a key of this name was first missed. */
function miss(keyId: string | undefined): number {
  if (missedAt.size >= MAX_MISSED) missedAt.clear()
  const first = missedAt.get(keyId) ?? Date.now()
  missedAt.set(keyId, first)
  return first
}

/** Fetches the keys if they may be fetched now, and waits for them. A request must not await what another began: it looks. */
async function renew(url: string): Promise<void> {
  if (isDue()) beginFetch(url)
  const until = Date.now() + 2 * FETCH_MS
  for (let pauseMs = 2; isUnderWay() && Date.now() < until; pauseMs = Math.min(2 * pauseMs, 64)) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** The keys are under way as soon as this returns, so that no other request fetches them too. */
function beginFetch(url: string): void {
  begunAt = Date.now()
  underWay = true
  waitUntil(fetchKeys(url, begunAt))
}

async function fetchKeys(url: string, begun: number): Promise<void> {
  try {
    keys = await download(url)
    fetchedAt = begun
  } catch (error) {
    console.error(`JWT_JWKS_URL: ${error instanceof Error ? error.message : error}`)
  } finally {
    underWay = false
  }
}

async function download(url: string): Promise<Key[]> {
  const signal = AbortSignal.timeout(FETCH_MS)
  const headers = { accept: 'application/json' }
  const response = await fetch(url, { headers, redirect: 'manual', cache: 'no-store', signal })
  if (response.status !== 200) throw new Error(`its server answered ${response.status}`)
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let [json, bytes] = ['', 0]
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > MAX_SET_BYTES) throw new Error(`its answer is longer than ${MAX_SET_BYTES} bytes`)
    json += decoder.decode(chunk, { stream: true })
  }
  const imported = await importKeys(usableKeys(json))
  if (imported.length === 0) throw new Error('its answer has no key that can be used')
  return imported
}
