/**
 * The backend's identity as this client remembers it, kept where LiveStore's own providers keep theirs: the
 * `backendId` column of the eventlog's sync status, through the KeyValueStore that make-leader-thread-layer.ts provides.
 *
 * It is written only while none is remembered. A changed id is never written: the pull or push fails with
 * `BackendIdMismatchError` instead, and what LiveStore's `onBackendIdMismatch: 'reset'` then deletes includes this
 * column, so that the next boot learns the new id from a clean slate.
 */
import { BackendIdMismatchError, SyncBackend, type UnknownError } from '@livestore/common'
import { Effect, Option } from 'effect'

import { type HttpFailure, TransportError } from './errors.ts'

export interface BackendId {
  readonly remembered: () => string | undefined
  /**
   * Takes note of an id that a response or the log itself showed: learns the first one, and checks every later one.
   * Before a store is told to throw its data away, the server is asked once more, past every cache: an answer may
   * carry an old id for a while after a reset.
   */
  readonly observe: (id: string) => Effect.Effect<void, BackendIdMismatchError | HttpFailure | UnknownError>
  /** Keeps the id; only for a caller that knows that none is remembered. */
  readonly learn: (id: string) => Effect.Effect<void, UnknownError>
  /** Fails if the server now has another identity than the remembered one. */
  readonly confirm: Effect.Effect<void, BackendIdMismatchError | HttpFailure>
}

export const BACKEND_ID_HEADER = 'livestore-backend-id'

/** `ask`: whose stream it is now, past every cache; undefined if there is none, or none can tell. */
export const makeBackendId = (ask: Effect.Effect<string | undefined, HttpFailure>) =>
  Effect.gen(function* () {
    const helper = yield* SyncBackend.makeBackendIdHelper
    const remembered = () => Option.getOrUndefined(Option.map(helper.get(), fromStored))

    const confirm = Effect.gen(function* () {
      const received = yield* ask
      const expected = remembered()
      if (expected !== undefined && received !== undefined && received !== expected) {
        return yield* new BackendIdMismatchError({ expected, received })
      }
    })

    const learn = (id: string) => helper.lazySet(toStored(id))

    const observe = (id: string) =>
      Effect.gen(function* () {
        const known = remembered()
        if (known === undefined) return yield* learn(id)
        if (known === id) return
        yield* confirm
        return yield* Effect.fail(new TransportError(`an answer of backend ${id}, which the server does not confirm`))
      })

    return { remembered, learn, observe, confirm } satisfies BackendId
  })

/** Past the HTTP cache. Cloudflare's own runtime has none, and older compatibility dates refuse the option. */
export const noStore = (): { cache?: 'no-store' } =>
  (globalThis as { navigator?: { userAgent?: string } }).navigator?.userAgent === 'Cloudflare-Workers'
    ? {}
    : { cache: 'no-store' }

/**
 * LiveStore 0.4.0 writes the id into an SQL string literal as it is (eventlog.ts, `updateBackendId`), and an id may hold
 * a store's name (`path:{tenant}/{store}`, docs/wire.md): no quote may reach it.
 */
const toStored = (id: string): string =>
  id.replace(/[%'\u0000-\u001f]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`)

const fromStored = (stored: string): string =>
  stored.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
