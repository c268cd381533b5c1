/**
 * The addresses of a store: its two names in the Worker's URL, and its path below the upstream's. The second is
 * `core/src/names.rs` in JavaScript, for clients that go to the upstream themselves. Both must agree forever, or they would look
 * for one store in two places (docs/http-api.md, "Upstream").
 */

/** The longest name in bytes of UTF-8. */
export const MAX_NAME_BYTES = 4096
/** Some servers take no longer paths. A name whose encoding is longer is replaced by its hash. */
const MAX_ENCODED = 200

/**
 * A store's path below the Worker's `/v1/stream/` and `/v1/adopt/`.
 *
 * @param {string} tenant
 * @param {string} storeId
 */
export const urlPath = (tenant, storeId) => `${encodeURIComponent(tenant)}/${encodeURIComponent(storeId)}`

/**
 * The URL of an incarnation of a store, below the same Worker as the store's own URL; undefined for an id of somebody else's
 * header that fits no address.
 *
 * @param {string} storeUrl
 * @param {string} backendId
 */
export const incarnationUrl = (storeUrl, backendId) =>
  !/^[\x21-\x7e]{1,1024}$/.test(backendId)
    ? undefined
    : `${storeUrl.replace(/\/v1\/stream\/([^/]+\/[^/]+)$/, '/v1/incarnation/$1')}/${encodeURIComponent(backendId)}`

/**
 * A store's path below the upstream's URL.
 *
 * @param {string} tenant
 * @param {string} storeId
 * @throws {Error} that names the name that can't be used, and says why
 */
export const storePath = async (tenant, storeId) =>
  `${await encodeUpstream(checkName('tenant', tenant))}/${await encodeUpstream(checkName('storeId', storeId))}`

/**
 * `.` and `..` survive percent-encoding, and every URL parser on the way to a Worker would resolve them away.
 *
 * @param {string} what
 * @param {string} name
 * @throws {Error} that says why the name can't be used
 */
export const checkName = (what, name) => {
  if (name === '' || name === '.' || name === '..') {
    throw new Error(`${what} ${JSON.stringify(name)} cannot be part of a URL; choose another name`)
  }
  try {
    encodeURIComponent(name)
  } catch {
    throw new Error(`${what} ${JSON.stringify(name)} is not well-formed Unicode`)
  }
  const bytes = utf8.encode(name).byteLength
  if (bytes > MAX_NAME_BYTES) throw new Error(`${what} is ${bytes} bytes long; at most ${MAX_NAME_BYTES} are allowed`)
  return name
}

/**
 * Letters, digits and `-` stay, `_` and `.` too except at the start. Every other byte becomes `~` and two hex digits. That
 * can be read back; therefore two names never meet.
 *
 * @param {string} name
 */
export const encodeUpstream = async (name) => {
  const bytes = utf8.encode(name)
  let encoded = ''
  bytes.forEach((byte, i) => {
    const char = String.fromCharCode(byte)
    encoded += (i === 0 ? /[A-Za-z0-9-]/ : /[A-Za-z0-9._-]/).test(char) ? char : `~${hex(byte).toUpperCase()}`
  })
  return encoded.length > MAX_ENCODED ? `~h${await sha256(bytes)}` : encoded
}

/**
 * Web Crypto is in every runtime; browsers give its digests only to pages from https or localhost.
 *
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
const sha256 = async (bytes) => {
  const subtle = /** @type {{ crypto?: Partial<typeof globalThis.crypto> }} */ (globalThis).crypto?.subtle
  if (subtle === undefined)
    throw new Error('a name this long needs Web Crypto, which a page has only over https or on localhost')
  return Array.from(new Uint8Array(await subtle.digest('SHA-256', bytes)), hex).join('')
}

/** @param {number} byte */
const hex = (byte) => byte.toString(16).padStart(2, '0')

const utf8 = new TextEncoder()
