// How many events have yet to arrive. LiveStore's own `onBootStatus` says so, too, but in a web app only after the leader
// has started.
import { Effect, Stream } from '@livestore/utils/effect'
import type { makeSyncBackend } from 'livestore-sync-durable-streams'

type MakeBackend = ReturnType<typeof makeSyncBackend>

const channel = (storeId: string) => new BroadcastChannel(`catch-up ${storeId}`)

/** For the worker: after each item that the provider pulls, tells the pages how many events remain. */
export const reportRemaining =
  (makeBackend: MakeBackend): MakeBackend =>
  (options) => {
    const pages = channel(options.storeId)
    return Effect.map(makeBackend(options), (backend) => ({
      ...backend,
      pull: (...args) =>
        Stream.tap(backend.pull(...args), ({ pageInfo }) =>
          Effect.sync(() => pages.postMessage(pageInfo._tag === 'MoreKnown' ? pageInfo.remaining : 0)),
        ),
    }))
  }

/** For pages: calls `listener` with the number of events that remain. */
export const onRemaining = (storeId: string, listener: (events: number) => void) => {
  channel(storeId).onmessage = ({ data }: MessageEvent<number>) => listener(data)
}
