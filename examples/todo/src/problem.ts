// The problem that keeps the store from syncing. The worker knows it, and the pages show it.
import type { Problem } from 'livestore-sync-durable-streams'

const channel = (storeId: string) => new BroadcastChannel(`problem ${storeId}`)

/** A page sends this when it opens, because it has missed earlier messages. */
const ASK = 'ask for the problem'

/** For the worker: tells the pages the current problem, and each later one. */
export const reportProblems = (storeId: string): ((problem: Problem | undefined) => void) => {
  const pages = channel(storeId)
  let last: Problem | undefined
  pages.onmessage = ({ data }) => data === ASK && pages.postMessage(last)
  return (problem) => {
    last = problem
    pages.postMessage(problem)
  }
}

/** For pages: calls `listener` with each problem, and with `undefined` when it is over. */
export const onProblem = (storeId: string, listener: (problem: Problem | undefined) => void) => {
  const worker = channel(storeId)
  worker.onmessage = ({ data }: MessageEvent<Problem | undefined | typeof ASK>) => data !== ASK && listener(data)
  worker.postMessage(ASK)
}

/** Describes a problem to the user. */
export const describeProblem = ({ kind, seqNum }: Problem): string => {
  switch (kind) {
    case 'unreachable':
      return 'The server can’t be reached. Your changes are kept and sent later.'
    case 'foreign-answer':
      return 'Something on this network answers in place of the server. Does the network want you to sign in?'
    case 'refused':
      return 'The server refuses this device. Sign in again.'
    case 'event-not-pushable':
      return `Change ${seqNum} can’t be sent, and neither can the changes after it.`
    case 'closed':
      return 'This list is archived. Your changes stay on this device.'
    case 'halted':
    case 'log-missing':
    case 'log-broken':
      return 'The server has lost this list’s history. Your changes are kept until it is back.'
    case 'backend-mismatch':
      return 'This list was reset on the server.'
    case 'unavailable':
      return 'The server has a problem. Your changes are kept and sent later.'
  }
}
