/**
 * A store's path below the upstream's URL: `src/names.rs` in TypeScript, for clients that go there themselves. Both must
 * say the same for ever, or they would look for one store in two places (docs/wire.md, "Upstream").
 */

/** @throws an `Error` that says which name cannot be used, and why */
export const storePath = async (tenant: string, storeId: string): Promise<string> =>
  `${await encodeUpstream(checkName('tenant', tenant))}/${await encodeUpstream(checkName('storeId', storeId))}`

/** The longest name in bytes of UTF-8. */
const MAX_NAME_BYTES = 4096
/** Some servers take no longer paths: beyond it the name's hash stands for it. */
const MAX_ENCODED = 200

/** `.` and `..` survive percent-encoding and would then be resolved away by every URL parser on the way to a Worker. */
export const checkName = (what: string, name: string): string => {
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
 * Letters, digits and `-` stay, `_` and `.` too except at the start, and every other byte becomes `~` and two hex digits.
 * That can be read back, so two names never meet.
 */
export const encodeUpstream = async (name: string): Promise<string> => {
  const bytes = utf8.encode(name)
  let encoded = ''
  bytes.forEach((byte, i) => {
    const char = String.fromCharCode(byte)
    encoded += (i === 0 ? /[A-Za-z0-9-]/ : /[A-Za-z0-9._-]/).test(char) ? char : `~${hex(byte).toUpperCase()}`
  })
  return encoded.length > MAX_ENCODED ? `~h${await sha256(bytes)}` : encoded
}

/** Web Crypto is in every runtime; browsers give its digests only to pages from https or localhost. */
const sha256 = async (bytes: Uint8Array<ArrayBuffer>): Promise<string> => {
  const subtle = (globalThis as { crypto?: Partial<typeof globalThis.crypto> }).crypto?.subtle
  if (subtle === undefined) throw new Error('a name this long needs Web Crypto, which a page has only over https or on localhost')
  return Array.from(new Uint8Array(await subtle.digest('SHA-256', bytes)), hex).join('')
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0')

const utf8 = new TextEncoder()
