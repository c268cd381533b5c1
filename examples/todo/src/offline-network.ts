// The effect of the offline switch: it makes the sync provider's network fail, as a bad one would.
const startsOffline = self.name.endsWith(' offline')

let connection = new AbortController()
const cut = () => connection.abort(new TypeError('the offline switch is on'))

if (startsOffline) cut()
new BroadcastChannel('offline').onmessage = ({ data: offline }: MessageEvent<boolean>) => {
  if (offline) cut()
  else connection = new AbortController()
}

/** While the switch is on, every request fails. Requests that are open when it goes on fail, too. */
export const switchableFetch: typeof fetch = (input, init) => {
  const signals = [connection.signal, ...(init?.signal ? [init.signal] : [])]
  return fetch(input, { ...init, signal: AbortSignal.any(signals) })
}

/** While the switch is on, no socket stays open. */
export class SwitchableWebSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols)
    const { signal } = connection
    const close = () => this.close()
    if (signal.aborted) close()
    signal.addEventListener('abort', close)
    this.addEventListener('close', () => signal.removeEventListener('abort', close))
  }
}
