// The offline switch on the pages. All windows of a browser share it, and a reload keeps it.
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

/** The name of a new worker. It tells the worker the state of the switch; a message on the channel would come too late. */
export const workerName = (name: string) => (offline.get() ? `${name} offline` : name)
