// Stands between the protocol's conformance suite and the Worker. The suite appends bytes of any type to streams of any name. Headwater
// takes LiveStore events, in JSON, that continue a store's chain. Therefore the proxy wraps each message into an event, and unwraps what
// reads answer. To the Worker a stream's own type is `application/json`. Every status and every other header passes unchanged.
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { listen } from '../harness/index.ts'
import { unwrapSse } from './sse.ts'
import { isEmpty, isJson, messagesIn, Stream, unwrap } from './stream.ts'

/** Where the stream of a suite's path is: at the store's URL, or at the address of its incarnation. */
export type Addressing = 'store' | 'incarnation'

export async function startProxy(workerUrl: string, addressing: Addressing) {
  const worker = new URL(workerUrl)
  const streams = new Map<string, Stream>()
  const streamOf = (path: string) => {
    const stream = streams.get(path) ?? new Stream(path, addressing)
    streams.set(path, stream)
    return stream
  }
  return listen(
    createServer(async (incoming, outgoing) => {
      try {
        await serve(worker, streamOf, incoming, outgoing)
      } catch {
        outgoing.destroy() // one side has gone, or the Worker's answer broke off
      }
    }),
  )
}

async function serve(
  worker: URL,
  streamOf: (path: string) => Stream,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const [path = '', query] = (incoming.url ?? '').split('?')
  const stream = streamOf(path)
  const { method = '', headers } = incoming
  const body = await buffer(incoming)
  const ask = async (method: string, body: Buffer) => {
    const { 'content-type': type } = headers
    const sent = isWrite(method) ? stream.wrapped(body, type) : body
    const answer = await send(worker, stream, { method, query, headers }, sent)
    if (isWrite(method)) stream.note(method, type, answer)
    return answer
  }
  const put = async () => {
    if ('stream-closed' in headers) return ask('PUT', body)
    // A store is created empty, and what a PUT brings is pushed after it
    const created = await ask('PUT', NOTHING)
    if (created.statusCode !== 201 || isEmpty(body, headers['content-type'])) return created
    const pushed = await ask('POST', body)
    if ((pushed.statusCode ?? 500) >= 300) return pushed
    pushed.resume()
    created.headers['stream-next-offset'] = pushed.headers['stream-next-offset']
    return created
  }
  const exchange = () => (method === 'PUT' ? put() : ask(method, body))
  // Only one write at a time knows the head that it follows
  const answer = await (isWrite(method) ? stream.inTurn(exchange) : exchange())
  await respond(stream, incoming, answer, outgoing)
}

const NOTHING = Buffer.alloc(0)
const isWrite = (method: string) => method === 'PUT' || method === 'POST'

interface Sent extends Pick<IncomingMessage, 'headers'> {
  readonly method: string
  readonly query: string | undefined
}

function send(worker: URL, stream: Stream, sent: Sent, body: Buffer): Promise<IncomingMessage> {
  const { 'transfer-encoding': chunked, 'content-length': length, 'content-type': type, ...headers } = sent.headers
  if (type !== undefined) headers['content-type'] = stream.typeThere(type)
  if (chunked !== undefined || length !== undefined) headers['content-length'] = String(body.length)
  headers['accept-encoding'] = 'identity'
  const path = stream.address(sent.method) + (sent.query === undefined ? '' : `?${sent.query}`)
  const { hostname: host, port } = worker
  return new Promise((resolve, reject) => {
    request({ host, port, method: sent.method, path, headers }, resolve).once('error', reject).end(body)
  })
}

async function respond(
  stream: Stream,
  incoming: IncomingMessage,
  answer: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { statusCode = 502, headers } = answer
  const begin = ({ 'content-type': type, location, ...rest }: typeof headers) =>
    outgoing.writeHead(statusCode, {
      ...rest,
      ...(type === undefined ? {} : { 'content-type': stream.typeHere(type) }),
      ...(location === undefined ? {} : { location: stream.locationHere(location, incoming) }),
    })
  const isRead = incoming.method === 'GET' && statusCode === 200
  if (isRead && headers['content-type'] === 'text/event-stream') {
    begin(headers).flushHeaders()
    return pipeline(answer, unwrapSse(stream), outgoing)
  }
  if (isRead && isJson(headers['content-type'])) {
    const body = unwrap(messagesIn(await buffer(answer)), stream)
    const { 'transfer-encoding': _, ...rest } = headers
    begin({ ...rest, 'content-length': String(body.length) }).end(body)
    return
  }
  begin(headers)
  return pipeline(answer, outgoing)
}
