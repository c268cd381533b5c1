/** A live pull on the store's socket: what the socket brings, as outcomes of the pull. */
import { TransportError } from '../http/errors.ts'
import type { Listener, StoreSocket } from '../socket/store-socket.ts'
import type { LogPage } from './pull-terms.ts'
import type { LiveRead, LiveReply } from './read.ts'

export const listenOnSocket = (
  socket: StoreSocket | undefined,
  url: string,
  expected: string | undefined,
): LiveRead => {
  if (socket === undefined) {
    return { next: async () => ({ _tag: 'NoSocket' }), reaches: () => false, close: () => {} }
  }
  const listener: Listener = socket.listen()
  let backendId: string | undefined

  const page = (messages: ReadonlyArray<unknown>, next: string, head: number): LiveReply => {
    const page: LogPage = {
      url,
      messages,
      next,
      upToDate: true,
      cursor: undefined,
      backendId,
      head,
      canStream: true,
    }
    return { _tag: 'Page', page }
  }

  const ofAnother = (backendId: string): LiveReply => ({
    _tag: 'Failed',
    failure: new TransportError('the store was reset'),
    backendId,
  })

  const next: LiveRead['next'] = async (seqNum, signal) => {
    for (;;) {
      const heard = await listener.next(seqNum, signal)
      switch (heard._tag) {
        case 'Hello': {
          const { backend, head, offset } = heard.hello
          if (expected !== undefined && backend !== expected) return ofAnother(backend)
          backendId = backend
          // A page without events: it shows that the socket works, and which backend it is of.
          if (head === seqNum) return page([], offset, head)
          break
        }
        case 'Batch':
          return page(heard.batch.messages, heard.batch.offset, heard.batch.head)
        case 'Ended':
          // Without a greeting, only this client has lost anything.
          return heard.heard ? { _tag: 'Cut', failure: new TransportError('the socket closed') } : { _tag: 'Ended' }
        case 'Stalled':
          return {
            ...heard,
            failure: new TransportError('nothing arrived on the socket for too long', { timedOut: true }),
          }
        case 'Reset':
          return ofAnother(heard.backend)
        default:
          return heard
      }
    }
  }

  return { next, reaches: listener.reaches, close: listener.close }
}
