// How much is still to come. LiveStore's own `onBootStatus` would say so, but in a web app only once the leader is up.
import { Effect, Stream } from '@livestore/utils/effect'
import type { makeSyncBackend } from 'livestore-sync-durable-streams'

type MakeBackend = ReturnType<typeof makeSyncBackend>

const channel = (storeId: string) => new BroadcastChannel(`catch-up ${storeId}`)

/** For the worker: tells the pages what each item that the provider pulls leaves to come. */
export const tellingRemaining =
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

/** For pages. */
export const onRemaining = (storeId: string, listener: (events: number) => void) => {
  channel(storeId).onmessage = ({ data }: MessageEvent<number>) => listener(data)
}
