// The provider as LiveStore's leader uses it, without LiveStore.
import type { SyncBackend } from '@livestore/common'
import {
  Effect,
  type Exit,
  FetchHttpClient,
  Fiber,
  type HttpClient,
  KeyValueStore,
  Layer,
  Option,
  type Scope,
  Stream,
} from '@livestore/utils/effect'
import { makeSyncBackend, type SyncBackendOptions, type SyncMetadata } from '../../client/src/index.ts'
import * as wait from './wait.ts'

export type Backend = SyncBackend.SyncBackend<SyncMetadata>
export type Item = SyncBackend.PullResItem<SyncMetadata>
export type Cursor = Parameters<Backend['pull']>[0]

type Env = Scope.Scope | HttpClient.HttpClient | KeyValueStore.KeyValueStore

/** Runs a test as one client device, whose memory ends with the test. */
export const run = <A, E>(effect: Effect.Effect<A, E, Env>): Promise<A> =>
  Effect.runPromise(
    effect.pipe(Effect.scoped, Effect.provide(Layer.mergeAll(FetchHttpClient.layer, KeyValueStore.layerMemory))),
  )

/** A client on the test's device. */
export const open = (options: SyncBackendOptions, storeId: string, payload?: { authToken: string }) =>
  makeSyncBackend(options)({ storeId, clientId: 'a-client', payload }) as Effect.Effect<Backend, unknown, Env>

/** A client on another device. */
export const openElsewhere = (...[options, storeId, payload]: Parameters<typeof open>) =>
  open(options, storeId, payload).pipe(Effect.provide(Layer.fresh(KeyValueStore.layerMemory)))

export const pullAll = (backend: Backend, cursor: Cursor = Option.none()) =>
  backend.pull(cursor).pipe(
    Stream.runCollect,
    Effect.map((items): Item[] => [...items]),
  )

export const seqNums = (items: readonly Item[]): number[] =>
  items.flatMap(({ batch }) => batch.map((_) => _.eventEncoded.seqNum))

export const cursorAt = (items: readonly Item[], seqNum: number): Cursor => {
  const found = items.flatMap((_) => _.batch).find((_) => _.eventEncoded.seqNum === seqNum)
  if (found === undefined) throw new Error(`no event ${seqNum} was pulled`)
  return Option.some({ eventSequenceNumber: found.eventEncoded.seqNum, metadata: found.metadata })
}

export interface Follower {
  readonly items: Item[]
  readonly seqNums: () => number[]
  /** The exit of the pull, once it has ended. */
  readonly exit: () => Exit.Exit<void, unknown> | undefined
  readonly until: (what: string, holds: () => boolean, withinMs?: number) => Effect.Effect<void>
  readonly stop: Effect.Effect<void>
}

/** A live pull that keeps all its items. */
export const follow = (
  backend: Backend,
  cursor: Cursor = Option.none(),
  onItem: (item: Item) => Effect.Effect<void> = () => Effect.void,
): Effect.Effect<Follower, never, Scope.Scope> =>
  Effect.gen(function* () {
    const items: Item[] = []
    let exit: Exit.Exit<void, unknown> | undefined
    const fiber = yield* backend.pull(cursor, { live: true }).pipe(
      Stream.runForEach((item) =>
        Effect.zipRight(
          Effect.sync(() => items.push(item)),
          onItem(item),
        ),
      ),
      Effect.exit,
      Effect.flatMap((_) =>
        Effect.sync(() => {
          exit = _
        }),
      ),
      Effect.forkScoped,
    )
    const state = () => ({ pulled: compact(seqNums(items)), infos: items.slice(-5).map((_) => _.pageInfo), exit })
    return {
      items,
      seqNums: () => seqNums(items),
      exit: () => exit,
      until: (what, holds, withinMs) => eventually(what, holds, state, withinMs),
      stop: Effect.asVoid(Fiber.interrupt(fiber)),
    }
  })

/** Waits for a condition. After the timeout it dies with the state. */
export const eventually = (
  what: string,
  holds: () => boolean,
  state: () => unknown = () => undefined,
  withinMs = 15_000,
): Effect.Effect<void> => Effect.promise((signal) => wait.eventually(what, holds, state, withinMs, signal))

/** Prints long runs as `1–2000`. */
const compact = (numbers: readonly number[]): string => {
  const runs: [number, number][] = []
  for (const n of numbers) {
    const last = runs.at(-1)
    if (last !== undefined && n === last[1] + 1) last[1] = n
    else runs.push([n, n])
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(', ')
}
