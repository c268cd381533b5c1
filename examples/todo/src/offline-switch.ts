// The offline switch, as pages show and turn it. It is one for all windows of a browser, and a reload keeps it.
import { makeValue } from './value.ts'

const KEY = 'offline'
const channel = new BroadcastChannel(KEY)

export const offline = makeValue(localStorage.getItem(KEY) === 'true')
channel.onmessage = ({ data }: MessageEvent<boolean>) => offline.set(data)

export const switchOffline = (on: boolean) => {
  localStorage.setItem(KEY, String(on))
  offline.set(on)
  channel.postMessage(on)
}

/** The name of a new worker, which tells it at once what the channel would tell too late. */
export const workerName = (name: string) => (offline.get() ? `${name} offline` : name)
