// A writer that follows the rules of LiveStore's leader (LeaderSyncProcessor.ts), and an oracle that reads the log. The writer
// pulls live, rebases its pending events onto pulled ones, confirms its own events that come back, and pushes again.
import { Effect, type Scope } from '@livestore/utils/effect'
import { type Backend, eventually, follow } from '../../support/backend.ts'
import { type Event, eventsFrom, idOf, logOf } from '../../support/events.ts'
import type { UpstreamStream } from '../../support/world.ts'

export interface TestWriter {
  readonly name: string
  /** Writes `count` events in batches of up to `batch`, until all are in the log. */
  readonly write: (count: number, batch?: number) => Effect.Effect<void>
  /** The events that the log must hold, in this order. */
  readonly acknowledged: readonly string[]
  readonly pulled: () => readonly string[]
}

export const makeWriter = (backend: Backend, name: string): Effect.Effect<TestWriter, never, Scope.Scope> =>
  Effect.gen(function* () {
    const follower = yield* follow(backend)
    yield* follower.until('the first item', () => follower.items.length > 0)
    const acknowledged: string[] = []
    const events = () => follower.items.flatMap((_) => _.batch).map((_) => _.eventEncoded as Event)
    const head = () => follower.items.findLast((_) => _.batch.length > 0)?.batch.at(-1)?.eventEncoded.seqNum ?? 0
    const isIn = (id: string) => events().some((_) => idOf(_) === id)

    /** One try. LiveStore interrupts it when its pull brings something meanwhile. */
    const pushOnce = (ids: readonly string[]) =>
      Effect.gen(function* () {
        const at = head()
        const batch = ids.map((id, i) => eventsFrom(at + i, 1, { id }, name)[0]!)
        const advances = (seqNum: number) =>
          eventually(
            `${name} past ${seqNum}`,
            () => head() > seqNum,
            () => [at, head(), follower.exit()],
            60_000,
          )
        const push = backend.push(batch).pipe(
          Effect.as(true),
          Effect.catchTags({
            ServerAheadError: ({ minimumExpectedNum }) => Effect.as(advances(minimumExpectedNum - 2), false),
            IsOfflineError: () => Effect.as(Effect.sleep(20), false),
            UnknownError: (error) =>
              (error.payload as { status?: number } | undefined)?.status === 500
                ? Effect.as(Effect.sleep(20), false)
                : error,
          }),
          Effect.orDie,
        )
        return yield* Effect.raceFirst(push, Effect.as(advances(at), false))
      })

    const getIn = (ids: readonly string[]) =>
      Effect.gen(function* () {
        while (!isIn(ids.at(-1)!) && !(yield* pushOnce(ids))) {}
        acknowledged.push(...ids)
        // The next batch follows this one. LiveStore has it locally; this writer waits until it comes back
        yield* eventually(
          `${name}: ${ids.at(-1)} comes back`,
          () => isIn(ids.at(-1)!),
          () => [head(), follower.exit()],
          30_000,
        )
      })

    const write = (count: number, size = 1) =>
      Effect.gen(function* () {
        for (let left = count; left > 0; ) {
          const ids = Array.from({ length: Math.min(left, size) }, (_, i) => `${name}-${acknowledged.length + i + 1}`)
          yield* getIn(ids)
          left -= ids.length
        }
      })

    return { name, write, acknowledged, pulled: () => events().map(idOf) }
  })

/** Checks the chain (docs/http-api.md, "Events"), with each acknowledged event once and each writer's in order. */
export const checkLog = (stream: UpstreamStream, writers: readonly TestWriter[]): Effect.Effect<void> =>
  Effect.gen(function* () {
    const log = yield* Effect.promise(async () => logOf<Event>(await stream.messages()))
    for (const { name, acknowledged } of writers) {
      const logged = log.filter((_) => _.clientId === name).map(idOf)
      if (JSON.stringify(logged) !== JSON.stringify(acknowledged)) {
        yield* Effect.dieMessage(
          `${name} has in the log ${logged.join(' ')}, and was acknowledged ${acknowledged.join(' ')}`,
        )
      }
    }
  })
