// The service behind the Cache API in plain workerd, which has no cache of its own. It stores responses in memory, as
// Cloudflare's edge stores immutable ones. Above the limit, it evicts the least recently used response.
const LIMIT_BYTES = 256 << 20
const cached = new Map()
let cachedBytes = 0

export default {
  async fetch(request) {
    const key = `${request.headers.get('cf-cache-namespace') ?? ''} ${request.url}`
    if (request.method === 'PUT') {
      store(key, parse(new Uint8Array(await request.arrayBuffer())))
      return new Response(null, { status: 204 })
    }
    if (request.method === 'PURGE') return new Response(null, { status: remove(key) ? 200 : 404 })
    const found = cached.get(key)
    if (found === undefined) return new Response(null, { status: 504, headers: { 'cf-cache-status': 'MISS' } })
    cached.delete(key)
    cached.set(key, found) // now the newest entry, because a Map keeps the order of insertion
    return new Response(found.body, { status: found.status, headers: [...found.headers, ['cf-cache-status', 'HIT']] })
  },
}

function store(key, response) {
  remove(key)
  if (response.body.length > LIMIT_BYTES) return
  cached.set(key, response)
  cachedBytes += response.body.length
  for (const oldest of cached.keys()) {
    if (cachedBytes <= LIMIT_BYTES) return
    remove(oldest)
  }
}

function remove(key) {
  cachedBytes -= cached.get(key)?.body.length ?? 0
  return cached.delete(key)
}

/** Parses a response as HTTP/1.1 writes it: with a `Content-Length`, or in chunks. */
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
  const pattern = new TextEncoder().encode(text)
  for (let i = bytes.indexOf(pattern[0], from); i >= 0; i = bytes.indexOf(pattern[0], i + 1)) {
    if (pattern.every((byte, j) => bytes[i + j] === byte)) return i
  }
  return bytes.length
}

const decoder = new TextDecoder()
