/**
 * The backend's identity as this client remembers it, kept where LiveStore's own providers keep theirs: the
 * `backendId` column of the eventlog's sync status, through the KeyValueStore that make-leader-thread-layer.ts provides.
 *
 * It is written only while none is remembered. A changed id is never written: the pull or push fails with
 * `BackendIdMismatchError` instead, and what LiveStore's `onBackendIdMismatch: 'reset'` then deletes includes this
 * column, so that the next boot learns the new id from a clean slate.
 */
import { BackendIdMismatchError } from '@livestore/common'

import { TransportError } from '../http/errors.ts'

export interface BackendId {
  readonly remembered: () => string | undefined
  /**
   * Takes note of an id that a response or the log itself showed: learns the first one, and checks every later one.
   * Before a store is told to throw its data away, the server is asked once more, past every cache: an answer may
   * carry an old id for a while after a reset.
   */
  readonly observe: (id: string, signal?: AbortSignal) => Promise<void>
}

/** Where the id is kept, across restarts. */
export interface IdStorage {
  readonly get: () => string | undefined
  readonly set: (id: string) => Promise<void>
}

/** `ask`: whose stream it is now, past every cache; undefined if there is none, or none can tell. */
export const makeBackendId = (storage: IdStorage, ask: (signal?: AbortSignal) => Promise<string | undefined>): BackendId => {
  const remembered = () => {
    const stored = storage.get()
    return stored === undefined ? undefined : fromStored(stored)
  }

  const confirm = async (signal?: AbortSignal) => {
    const received = await ask(signal)
    const expected = remembered()
    if (expected !== undefined && received !== undefined && received !== expected) {
      throw new BackendIdMismatchError({ expected, received })
    }
  }

  const observe = async (id: string, signal?: AbortSignal) => {
    const known = remembered()
    if (known === undefined) return storage.set(toStored(id))
    if (known === id) return
    await confirm(signal)
    throw new TransportError(`an answer of backend ${id}, which the server does not confirm`)
  }

  return { remembered, observe }
}

/**
 * LiveStore 0.4.0 writes the id into an SQL string literal as it is (eventlog.ts, `updateBackendId`), and an id may hold
 * a store's name (`path:{tenant}/{store}`, docs/http-api.md): no quote may reach it.
 */
const toStored = (id: string): string =>
  id.replace(/[%'\u0000-\u001f]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`)

const fromStored = (stored: string): string =>
  stored.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
