// A reverse proxy as some networks have: it passes a response on only when the response is whole. A stream of events lasts a
// minute, and nothing of it arrives before its end. Nor does anything arrive by a WebSocket.
import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { listen } from './listen.ts'
import { handleUpgrades, isUpgrade, onReply, tunnel } from './upgrade.ts'

export interface BufferingProxy {
  /** Replaces the upstream's URL, with its path. */
  readonly url: string
  stop(): Promise<void>
}

/** `holds`: the proxy holds back the body, and a socket's frames, alone, or the headers as well. */
export async function startBufferingProxy(upstreamUrl: string, holds: 'body' | 'all'): Promise<BufferingProxy> {
  const upstream = new URL(upstreamUrl)
  const handle: RequestListener = (incoming, outgoing) => {
    const { method, url: path, headers } = incoming
    const onward = request({ host: upstream.hostname, port: upstream.port, method, path, headers })
    const respond = async (response: IncomingMessage) => {
      const begin = () => outgoing.writeHead(response.statusCode ?? 502, response.headers)
      if (holds === 'body') begin().flushHeaders()
      try {
        const body = await buffer(response)
        if (holds === 'all') begin()
        outgoing.end(body)
      } catch {
        incoming.socket.destroy()
      }
    }
    onReply(onward, incoming, ({ response, far }) => {
      if (far === undefined) void respond(response)
      else if (holds === 'all') far.resume()
      else tunnel(incoming, { response, far }, { after: 0 })
    })
    onward.on('error', () => incoming.socket.destroy())
    outgoing.once('close', () => onward.destroy())
    if (isUpgrade(incoming)) onward.end()
    else incoming.pipe(onward)
  }
  const server = createServer(handle)
  handleUpgrades(server, handle)
  const { url, stop } = await listen(server)
  return { url: `${url}${upstream.pathname.replace(/\/$/, '')}`, stop }
}
