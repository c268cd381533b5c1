// The effect of the offline switch: it makes the sync provider's `fetch` fail, as a bad network would.
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
