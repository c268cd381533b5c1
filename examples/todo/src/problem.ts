// What keeps the store from syncing, from the worker that knows it to the pages that show it.
import type { Problem } from 'livestore-sync-durable-streams'

const channel = (storeId: string) => new BroadcastChannel(`problem ${storeId}`)

/** Sent by a page that has just been opened: it has missed what was told before. */
const ASKING = 'what is it?'

/** For the worker: tells the pages of the problem there is, and those that come later. */
export const tellingProblems = (storeId: string): ((problem: Problem | undefined) => void) => {
  const pages = channel(storeId)
  let last: Problem | undefined
  pages.onmessage = ({ data }) => data === ASKING && pages.postMessage(last)
  return (problem) => {
    last = problem
    pages.postMessage(problem)
  }
}

/** For pages. */
export const onProblem = (storeId: string, listener: (problem: Problem | undefined) => void) => {
  const worker = channel(storeId)
  worker.onmessage = ({ data }: MessageEvent<Problem | undefined | typeof ASKING>) => data !== ASKING && listener(data)
  worker.postMessage(ASKING)
}

/** In the words of the app. */
export const describeProblem = ({ kind, seqNum }: Problem): string => {
  switch (kind) {
    case 'unreachable':
      return 'The server can’t be reached. Your changes are kept and sent later.'
    case 'foreign-answer':
      return 'Something on this network answers in the server’s place. Is there a page to sign in to?'
    case 'refused':
      return 'The server refuses this device. Sign in again.'
    case 'event-not-pushable':
      return `Change ${seqNum} can’t be sent, and neither can what follows it.`
    case 'halted':
    case 'log-missing':
    case 'log-broken':
      return 'The server has lost this list’s history. Your changes are kept until it is back.'
    case 'backend-mismatch':
      return 'This list was reset on the server.'
    case 'unavailable':
      return 'The server has trouble. Your changes are kept and sent later.'
  }
}
