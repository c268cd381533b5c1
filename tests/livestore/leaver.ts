// A client at the wire that leaves in the middle of its push, in mid-body or after the whole body.
import { connect } from 'node:net'
import type { CountingProxy } from '../harness/index.ts'
import { linked } from '../support/events.ts'

export type Departure =
  /** The client has sent half of the body. */
  | 'in mid-body'
  /** The client has sent the whole body, and does not wait. */
  | 'all sent'
  /** The batch is on its way to the upstream, which does not have it yet. */
  | 'before the append'
  /** The batch is in the log, and the Sequencer does not know that yet. */
  | 'after the append'

/** A push whose client left, or a push that was answered too soon. */
export interface Push {
  readonly notes: readonly string[]
  readonly departure: Departure
  /** The answer's status, if it came before the client could leave. */
  readonly status: number | undefined
}

export interface Leaver {
  /** Pushes until it has left in mid-push once. Returns all its pushes. */
  readonly leave: (departure: Departure) => Promise<readonly Push[]>
}

const BATCH = 3

export const makeLeaver = (options: {
  readonly name: string
  readonly workerUrl: string
  readonly storeId: string
  readonly between: CountingProxy
}): Leaver => {
  const { name, workerUrl, storeId, between } = options
  const url = new URL(`${workerUrl}/v1/stream/default/${storeId}`)
  let next = 0

  const batchOn = (parent: number) =>
    linked(parent, BATCH, () => {
      next += 1
      return {
        name: 'v1.Noted',
        args: { id: `${name}-${next}`, writer: name, slot: next % 7 },
        clientId: name,
        sessionId: name,
      }
    })

  const tryOnce = async (departure: Departure): Promise<Push> => {
    const { headers } = await fetch(url, { method: 'HEAD' })
    const batch = batchOn(Number(headers.get('livestore-head')))
    const notes = batch.map((_) => _.args.id)
    const push = openPush(url, JSON.stringify(batch))
    const left = { notes, departure, status: undefined }
    switch (departure) {
      case 'in mid-body':
        await push.sendHalf()
        await push.leave()
        return left
      case 'all sent':
        await push.sendAll()
        await push.leave()
        return left
      default: {
        const fault = departure === 'before the append' ? 'hold request' : 'hold response'
        for (let sent = false; ; ) {
          const held = between.next({ method: 'POST', path: storeId }, fault)
          try {
            if (!sent) await push.sendAll()
            sent = true
            const met = await Promise.race([held.met, push.answered])
            if (typeof met === 'number') return { ...left, status: met }
            // Another client's append: it goes on, and the next one may be ours
            if (!met.body.includes(`"${notes[0]}"`)) continue
            await push.leave()
            // The answer to this request shows that the Worker has noticed the departure
            await (await fetch(`${workerUrl}/health`)).text()
            return left
          } finally {
            held.release()
          }
        }
      }
    }
  }

  return {
    leave: async (departure) => {
      const tried: Push[] = []
      do tried.push(await tryOnce(departure))
      while (tried.at(-1)?.status !== undefined)
      return tried
    },
  }
}

/** A push by hand, because `fetch` does not tell when the bytes are sent. */
const openPush = (url: URL, body: string) => {
  const socket = connect(Number(url.port), url.hostname)
  socket.on('error', () => {}) // the other side may be faster to close
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const answered = new Promise<number>((resolve) => {
    socket.once('data', (chunk) => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString())?.[1])))
    socket.once('close', () => resolve(0)) // cut by the other side: as good as no answer
  })
  const bytes = Buffer.from(body)
  const head = `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\ncontent-length: ${bytes.length}\r\n\r\n`
  const send = (...parts: (string | Buffer)[]) =>
    new Promise<void>((resolve) => socket.write(Buffer.concat(parts.map((part) => Buffer.from(part))), () => resolve()))
  return {
    answered,
    sendHalf: () => send(head, bytes.subarray(0, bytes.length / 2)),
    sendAll: () => send(head, bytes),
    // A reset would discard bytes that the Worker has not read yet
    leave: async () => {
      socket.destroy()
      await closed
    },
  }
}
