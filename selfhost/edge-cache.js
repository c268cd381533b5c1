// The Cache API of plain workerd asks a service that one has to bring: this one keeps what it is given in memory, as
// Cloudflare's edge keeps what is immutable. Beyond the limit, what was not asked for longest goes.
const LIMIT_BYTES = 256 << 20
const kept = new Map()
let keptBytes = 0

export default {
  async fetch(request) {
    const key = `${request.headers.get('cf-cache-namespace') ?? ''} ${request.url}`
    if (request.method === 'PUT') {
      keep(key, parse(new Uint8Array(await request.arrayBuffer())))
      return new Response(null, { status: 204 })
    }
    if (request.method === 'PURGE') return new Response(null, { status: remove(key) ? 200 : 404 })
    const found = kept.get(key)
    if (found === undefined) return new Response(null, { status: 504, headers: { 'cf-cache-status': 'MISS' } })
    kept.delete(key)
    kept.set(key, found) // a Map is in the order of insertion: now it is the last to go
    return new Response(found.body, { status: found.status, headers: [...found.headers, ['cf-cache-status', 'HIT']] })
  },
}

function keep(key, response) {
  remove(key)
  if (response.body.length > LIMIT_BYTES) return
  kept.set(key, response)
  keptBytes += response.body.length
  for (const oldest of kept.keys()) {
    if (keptBytes <= LIMIT_BYTES) return
    remove(oldest)
  }
}

function remove(key) {
  keptBytes -= kept.get(key)?.body.length ?? 0
  return kept.delete(key)
}

/** A response arrives as it would be written to a socket, with its length told or in chunks. */
function parse(bytes) {
  const end = indexOf(bytes, '\r\n\r\n', 0)
  const [status, ...lines] = decoder.decode(bytes.subarray(0, end)).split('\r\n')
  const headers = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()])
  const rest = bytes.subarray(end + 4)
  const chunked = headers.some(([name, value]) => name.toLowerCase() === 'transfer-encoding' && value === 'chunked')
  return {
    status: Number(status.split(' ')[1]),
    headers: headers.filter(([name]) => !['transfer-encoding', 'content-length'].includes(name.toLowerCase())),
    body: chunked ? unchunk(rest) : rest,
  }
}

function unchunk(bytes) {
  const parts = []
  for (let at = 0; ; ) {
    const line = indexOf(bytes, '\r\n', at)
    const size = Number.parseInt(decoder.decode(bytes.subarray(at, line)), 16)
    if (!(size > 0)) break
    parts.push(bytes.subarray(line + 2, line + 2 + size))
    at = line + 2 + size + 2
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function indexOf(bytes, text, from) {
  const wanted = new TextEncoder().encode(text)
  for (let i = bytes.indexOf(wanted[0], from); i >= 0; i = bytes.indexOf(wanted[0], i + 1)) {
    if (wanted.every((byte, j) => bytes[i + j] === byte)) return i
  }
  return bytes.length
}

const decoder = new TextDecoder()
