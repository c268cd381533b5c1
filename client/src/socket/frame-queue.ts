/** What a socket has brought and a pull has not taken yet. Pure. */

/** Linked events that came at once. */
export interface Batch {
  readonly parent: number
  readonly head: number
  /** The offset behind them. */
  readonly offset: string
  readonly messages: ReadonlyArray<unknown>
  /** The length of their JSON. */
  readonly size: number
}

export type Taken =
  | { readonly _tag: 'Batch'; readonly batch: Batch }
  /** The log has gone on to this head, and the queue does not hold what comes next. */
  | { readonly _tag: 'Behind'; readonly head: number }

export interface FrameQueue {
  readonly add: (batch: Batch) => void
  /** The log has this head. */
  readonly observeHead: (head: number) => void
  /** Takes what follows `seqNum`; undefined if nothing is there to take. */
  readonly take: (seqNum: number) => Taken | undefined
  /** The newest head that the socket has told. */
  readonly head: () => number
}

/** If LiveStore is so far behind, the pull brings the rest by a catch-up, which costs less memory. */
const MAX_SIZE = 8 * 1024 * 1024

export const makeFrameQueue = (): FrameQueue => {
  let batches: Array<Batch> = []
  let size = 0
  let head = 0
  /** A catch-up that does not reach the head is not asked for twice. */
  let reported = 0

  const observeHead = (seen: number) => {
    head = Math.max(head, seen)
  }

  const drop = () => {
    size -= batches.shift()?.size ?? 0
  }

  const take = (seqNum: number): Taken | undefined => {
    while (batches[0] !== undefined && batches[0].head <= seqNum) drop()
    const first = batches[0]
    if (first?.parent === seqNum) return { _tag: 'Batch', batch: takeLinked(first) }
    if (head <= seqNum || head <= reported) return undefined
    reported = head
    return { _tag: 'Behind', head }
  }

  /** Batches that link come at once: fewer items cost LiveStore less. */
  const takeLinked = (first: Batch): Batch => {
    drop()
    let last = first
    let taken = first.size
    const messages = [...first.messages]
    while (batches[0]?.parent === last.head) {
      last = batches[0]
      messages.push(...last.messages)
      taken += last.size
      drop()
    }
    return { parent: first.parent, head: last.head, offset: last.offset, messages, size: taken }
  }

  return {
    add: (batch) => {
      observeHead(batch.head)
      batches.push(batch)
      size += batch.size
      if (size > MAX_SIZE) {
        batches = []
        size = 0
      }
    },
    observeHead,
    take,
    head: () => head,
  }
}
