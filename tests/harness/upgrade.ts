// Upgrades through the proxies: a WebSocket is a request whose connection then carries raw bytes both ways.
import { type ClientRequest, type IncomingMessage, type RequestListener, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Makes the handler of requests the handler of upgrades, too. An answer to an upgrade ends its connection. */
export function handleUpgrades(server: Server, handler: RequestListener): void {
  server.on('upgrade', (incoming: IncomingMessage, near: Duplex, head: Buffer) => {
    const outgoing = new ServerResponse(incoming)
    outgoing.shouldKeepAlive = false
    outgoing.assignSocket(near as Socket)
    outgoing.once('finish', () => near.end())
    near.on('error', () => {}) // its 'close' follows
    near.unshift(head)
    handler(incoming, outgoing)
  })
}

export const isUpgrade = ({ headers }: IncomingMessage): boolean => headers.upgrade !== undefined

/** The server's answer. `far` is the server's connection if it was upgraded. */
export interface Reply {
  readonly response: IncomingMessage
  readonly far?: Duplex
}

/** Calls back with the server's answer to the request that the proxy passes on. */
export function onReply(onward: ClientRequest, { socket: near }: IncomingMessage, reply: (reply: Reply) => void): void {
  onward.on('response', (response) => reply({ response }))
  onward.on('upgrade', (response, far, head) => {
    far.on('error', () => {}) // its 'close' follows
    near.once('close', () => far.destroy())
    if (near.destroyed) far.destroy()
    far.unshift(head)
    reply({ response, far })
  })
}

export interface Passage {
  /** So many bytes of the server pass after the handshake, and then the limit is met. */
  readonly after?: number
  readonly onLimit?: (passage: { readonly silence: () => void }) => void
  readonly onBytes?: (count: number) => void
  /** Aborted, the connections stay open, and nothing passes any more. */
  readonly silenced?: AbortSignal
}

/** Answers the client's upgrade as the server did, and passes bytes both ways. The end of one side ends the other. */
export function tunnel(
  { socket: near }: IncomingMessage,
  { response, far }: { readonly response: IncomingMessage; readonly far: Duplex },
  { after = Number.POSITIVE_INFINITY, onLimit, onBytes, silenced }: Passage = {},
): void {
  let left = after
  let isSilent = silenced?.aborted ?? false
  const silence = () => {
    isSilent = true
  }
  silenced?.addEventListener('abort', silence, { once: true })
  near.write(headOf(response))
  far.on('data', (chunk: Buffer) => {
    onBytes?.(chunk.length)
    if (isSilent || left < 0) return
    const passing = chunk.subarray(0, left)
    left -= chunk.length
    if (left < 0) near.write(passing, () => onLimit?.({ silence }))
    else pass(passing, near, far)
  })
  near.on('data', (chunk: Buffer) => {
    if (!isSilent) pass(chunk, far, near)
  })
  near.once('end', () => isSilent || far.end())
  far.once('end', () => isSilent || near.end())
  far.once('close', () => {
    silenced?.removeEventListener('abort', silence)
    if (!isSilent && !far.readableEnded) near.destroy()
  })
}

function pass(chunk: Buffer, to: Duplex, from: Duplex): void {
  if (to.write(chunk)) return
  from.pause()
  to.once('drain', () => from.resume())
}

function headOf({ statusCode, statusMessage, rawHeaders }: IncomingMessage): string {
  const lines = [`HTTP/1.1 ${statusCode} ${statusMessage}`]
  for (let i = 0; i < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}
