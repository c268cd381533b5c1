// Real LiveStore stores, as an app makes them, and a checker that reads the log from the upstream.
import { makeAdapter } from '@livestore/adapter-node'
import type { SyncBackend } from '@livestore/common'
import {
  createStorePromise,
  Events,
  makeSchema,
  makeShutdownDeferred,
  Schema,
  State,
  type Store,
  StoreInternalsSymbol,
} from '@livestore/livestore'
import { Deferred, Effect, Exit, LogLevel } from '@livestore/utils/effect'
import { makeSyncBackend, type SyncBackendOptions } from '../../client/src/index.ts'
import { eventsFrom, logOf } from '../support/events.ts'
import type { Store as StoreAtWorker } from '../support/store.ts'
import { eventually } from '../support/wait.ts'

export const tables = {
  notes: State.SQLite.table({
    name: 'notes',
    columns: { id: State.SQLite.text({ primaryKey: true }), writer: State.SQLite.text(), slot: State.SQLite.integer() },
  }),
  /** The last writer of each slot: differs between stores as soon as their order of events does. */
  slots: State.SQLite.table({
    name: 'slots',
    columns: { slot: State.SQLite.integer({ primaryKey: true }), note: State.SQLite.text() },
  }),
}

export const events = {
  noted: Events.synced({
    name: 'v1.Noted',
    schema: Schema.Struct({ id: Schema.String, writer: Schema.String, slot: Schema.Int }),
  }),
  /** No args at all: JSON drops them on the wire. */
  ticked: Events.synced({ name: 'v1.Ticked', schema: Schema.Void }),
  /** Any JSON: an app's settings, a form, an import. */
  kept: Events.synced({ name: 'v1.Kept', schema: Schema.Any }),
}

export const schema = makeSchema({
  events,
  state: State.SQLite.makeState({
    tables,
    materializers: State.SQLite.materializers(events, {
      'v1.Noted': ({ id, writer, slot }) => [
        tables.notes.insert({ id, writer, slot }),
        tables.slots.insert({ slot, note: id }).onConflict('slot', 'replace'),
      ],
      'v1.Ticked': () => [],
      'v1.Kept': () => [],
    }),
  }),
})

export interface TestStore {
  readonly name: string
  readonly store: Store<typeof schema>
  /** Commits `count` more notes. */
  readonly note: (count: number) => void
  /** The data that the user sees. */
  readonly state: () => { readonly notes: readonly unknown[]; readonly slots: readonly unknown[] }
  readonly count: () => number
  readonly isConnected: () => boolean
  /** Events that the leader has not yet taken from the session. */
  readonly pendingInSession: () => number
  /** Events that the backend has not acknowledged, those of the session included. */
  readonly pending: () => number
  /** The state for the message of a failing test. Never throws. */
  readonly status: () => unknown
  /** Resolves with the reason when LiveStore itself ends the store. */
  readonly ended: Promise<unknown>
  readonly stop: () => Promise<void>
}

export const openStore = async (options: {
  readonly name: string
  readonly storeId: string
  readonly sync: SyncBackendOptions
  /** Replaces Headwater's provider. */
  // biome-ignore lint/suspicious/noExplicitAny: LiveStore's adapter takes a backend with any metadata, and they are invariant
  readonly backend?: SyncBackend.SyncBackendConstructor<any>
  /** Without it the store is in memory. */
  readonly directory?: string
  readonly onBackendIdMismatch?: 'reset' | 'shutdown' | 'ignore'
}): Promise<TestStore> => {
  const { name, storeId, sync, backend = makeSyncBackend(sync), directory, onBackendIdMismatch } = options
  const shutdown = await Effect.runPromise(makeShutdownDeferred)
  const store = await createStorePromise({
    schema,
    // The end of a store ends all stores with its id in the process (adapter-node's shutdown-channel.ts), as it should for the
    // tabs of a browser. These are devices: each has an id of its own, and only the backend knows the common one.
    storeId: `${storeId}-on-${name}`,
    disableDevtools: true,
    shutdownDeferred: shutdown,
    logLevel: LogLevel.None,
    adapter: makeAdapter({
      storage: directory === undefined ? { type: 'in-memory' } : { type: 'fs', baseDirectory: directory },
      clientId: name,
      sync: {
        backend: (device) => backend({ ...device, storeId }),
        onSyncError: 'shutdown',
        ...(onBackendIdMismatch === undefined ? {} : { onBackendIdMismatch }),
      },
    }),
  })
  const leader = () => Effect.runSync(store[StoreInternalsSymbol].clientSession.leaderThread.syncState.get)
  const session = () => Effect.runSync(store[StoreInternalsSymbol].syncProcessor.syncState.get)
  // A rebase changes the number, in the leader first
  const idOf = ({
    args,
    seqNum,
  }: {
    readonly args: { readonly id: string } | undefined
    readonly seqNum: { readonly global: number }
  }) => args?.id ?? seqNum.global
  const pendingInSession = () => store.syncStatus().pendingCount
  let next = store.query(tables.notes.where({ writer: name }).count())
  return {
    name,
    store,
    note: (count) => {
      const notes = Array.from({ length: count }, () => {
        next += 1
        return events.noted({ id: `${name}-${next}`, writer: name, slot: next % 7 })
      })
      store.commit(...notes)
    },
    state: () => ({
      notes: store.query(tables.notes.orderBy('id', 'asc')),
      slots: store.query(tables.slots.orderBy('slot', 'asc')),
    }),
    count: () => store.query(tables.notes.count()),
    isConnected: () => Effect.runSync(store.networkStatus).isConnected,
    pendingInSession,
    // The session keeps an event until it learns that the leader took it. Until then both have it, and it counts once
    pending: () => new Set([...session().pending, ...leader().pending].map(idOf)).size,
    status: () => {
      try {
        const { isConnected } = Effect.runSync(store.networkStatus)
        const { upstreamHead, localHead, pending } = leader()
        const heads = { upstream: upstreamHead.global, local: localHead.global }
        const count = store.query(tables.notes.count())
        return { name, count, isConnected, session: store.syncStatus(), leader: { ...heads, pending: pending.length } }
      } catch (error) {
        return { name, ended: String(error) }
      }
    },
    ended: Effect.runPromise(Effect.exit(Deferred.await(shutdown))).then((exit) =>
      Exit.isFailure(exit) ? exit.cause : exit.value,
    ),
    stop: () => store.shutdownPromise(),
  }
}

/** Whether every store has `count` notes, and all show the same. */
export const agree = (stores: readonly TestStore[], count: number): boolean =>
  stores.every((_) => _.count() === count) && new Set(stores.map((_) => JSON.stringify(_.state()))).size === 1

/** Waits until every store has `count` notes, and all show the same. */
export const converged = (stores: readonly TestStore[], count: number, withinMs?: number): Promise<void> =>
  eventually(
    `${stores.map((_) => _.name).join(', ')} with the same ${count} notes`,
    () => agree(stores, count),
    () => stores.map((_) => _.status()),
    withinMs,
  )

interface LoggedEvent {
  readonly name: string
  readonly args?: { readonly id: string; readonly writer: string }
  readonly seqNum: number
  readonly parentSeqNum: number
}

/** Checks the chain of the upstream's messages, and returns each writer's notes in order. */
export const checkLog = (
  messages: readonly unknown[],
): { readonly events: number; readonly notesOf: (writer: string) => string[] } => {
  const log = logOf<LoggedEvent>(messages)
  const notes = log.flatMap((_) => (_.args === undefined ? [] : [_.args]))
  return { events: log.length, notesOf: (writer) => notes.filter((_) => _.writer === writer).map((_) => _.id) }
}

export const notesOf = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${name}-${i + 1}`)

/** `count` linked notes of the writer `w`, which is no store, as a push carries them. */
export const notesFrom = (parent: number, count: number) => eventsFrom(parent, count, { writer: 'w', slot: 1 }, 'w')

/** Fills an empty store through the Worker. Returns the status of each push. */
export const fill = async (store: StoreAtWorker, count: number): Promise<number[]> => {
  const statuses: number[] = []
  for (let head = 0; head < count; head += 50) {
    statuses.push((await store.push(notesFrom(head, Math.min(50, count - head)))).status)
  }
  return statuses
}
