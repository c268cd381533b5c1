// The floor: what a fenced append, a read and a live read cost on the upstream itself, with nothing between it and the
// caller. It implements `SyncBackend`, so that the same code measures it, but it is not a provider.
import { ServerAheadError, SyncBackend, UnknownError } from '@livestore/common'
import { EventSequenceNumber } from '@livestore/common/schema'
import { Effect, Option, Stream, SubscriptionRef } from '@livestore/utils/effect'
import { fenceHeader, JSON_TYPE } from '../client/src/protocol/index.js'
import type { Event } from './events.ts'
import type { Metadata } from './systems/model.ts'

export const makeFloor =
  (upstreamUrl: string): SyncBackend.SyncBackendConstructor<Metadata> =>
  ({ storeId }) =>
    Effect.gen(function* () {
      const url = `${upstreamUrl}/default/${storeId}`
      const attempt = <A>(work: (signal: AbortSignal) => Promise<A>) =>
        Effect.tryPromise({ try: work, catch: (cause) => new UnknownError({ cause }) })

      const push = (batch: readonly Event[]) => {
        const parent = batch[0]?.parentSeqNum ?? 0
        const headers = { ...JSON_TYPE, ...fenceHeader(parent) }
        return attempt(async (signal) => {
          const { status, body } = await fetch(url, { method: 'POST', headers, body: JSON.stringify(batch), signal })
          await body?.cancel()
          return status
        }).pipe(
          Effect.flatMap((status): Effect.Effect<void, ServerAheadError | UnknownError> => {
            if (status === 409) {
              const seqNum = EventSequenceNumber.Global.make(parent + 1)
              return new ServerAheadError({ minimumExpectedNum: seqNum, providedNum: seqNum })
            }
            return status < 300 ? Effect.void : new UnknownError({ cause: new Error(`append: status ${status}`) })
          }),
        )
      }
      const item = (messages: readonly unknown[]): SyncBackend.PullResItem<Metadata> => ({
        batch: messages.filter(isEvent).map((eventEncoded) => ({ eventEncoded, metadata: Option.none() })),
        pageInfo: SyncBackend.pageInfoNoMore,
      })
      const readAll = attempt(async (signal) =>
        item((await (await fetch(`${url}?offset=-1`, { signal })).json()) as unknown[]),
      )
      const follow = Stream.async<SyncBackend.PullResItem<Metadata>, UnknownError>((emit) => {
        const abort = new AbortController()
        followArrays(url, abort.signal, (messages) => void emit.single(item(messages))).then(
          () => emit.end(),
          (cause) => emit.fail(new UnknownError({ cause })),
        )
        return Effect.sync(() => abort.abort())
      })

      return SyncBackend.of<Metadata>({
        connect: Effect.asVoid(attempt((signal) => fetch(url, { method: 'PUT', headers: JSON_TYPE, signal }))),
        push,
        pull: (_, options) => (options?.live === true ? follow : Stream.fromEffect(readAll)),
        ping: Effect.void,
        isConnected: yield* SubscriptionRef.make(true),
        metadata: { name: 'floor', description: 'the upstream alone' },
        supports: { pullPageInfoKnown: false, pullLive: true },
      })
    })

const isEvent = (message: unknown): message is Event =>
  typeof message === 'object' && message !== null && 'seqNum' in message

/** Passes on the arrays of a live read, from the first one on, until the signal aborts or the read ends. */
async function followArrays(
  url: string,
  signal: AbortSignal,
  take: (messages: readonly unknown[]) => void,
): Promise<void> {
  const { body } = await fetch(`${url}?offset=-1&live=sse`, { signal })
  let text = ''
  let first = true
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true })
    const messages = text.split('\n\n')
    text = messages.pop() ?? ''
    for (const message of messages) {
      const lines = message.split('\n')
      const isData = lines.some((line) => /^event: ?data$/.test(line))
      if (isData)
        take(
          JSON.parse(
            lines
              .filter((line) => line.startsWith('data:'))
              .map((line) => line.slice(5))
              .join('\n'),
          ),
        )
      else if (first) take([])
      first = false
    }
  }
}

const decoder = new TextDecoder()
