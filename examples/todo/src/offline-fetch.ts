// What the offline switch does: it cuts the sync provider off where a bad network would, at its `fetch`.
const startsOffline = self.name.endsWith(' offline')

let connection = new AbortController()
const cut = () => connection.abort(new TypeError('the offline switch is on'))

if (startsOffline) cut()
new BroadcastChannel('offline').onmessage = ({ data: offline }: MessageEvent<boolean>) => {
  if (offline) cut()
  else connection = new AbortController()
}

/** While the switch is on every request fails, and what was under way breaks off. */
export const switchableFetch: typeof fetch = (input, init) => {
  const signals = [connection.signal, ...(init?.signal ? [init.signal] : [])]
  return fetch(input, { ...init, signal: AbortSignal.any(signals) })
}
