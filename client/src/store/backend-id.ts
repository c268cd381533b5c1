/**
 * The backend id that this client remembers. It lies where LiveStore's own providers keep theirs: in the `backendId` column
 * of the eventlog's sync status, through the KeyValueStore that make-leader-thread-layer.ts provides.
 *
 * The provider writes it only while it remembers none. A changed id makes the pull or push fail with
 * `BackendIdMismatchError`. LiveStore's `onBackendIdMismatch: 'reset'` then deletes this column too, so that the next boot
 * learns the new id.
 */
import { BackendIdMismatchError } from '@livestore/common'

import { TransportError } from '../http/errors.ts'

export interface BackendId {
  readonly remembered: () => string | undefined
  /**
   * Learns the first id that a response or the log shows, and checks every later one. A mismatch makes a store throw its
   * data away, and an answer may carry an old id for a while after a reset. Therefore the provider first asks the server
   * once more, past every cache.
   */
  readonly observe: (id: string, signal?: AbortSignal) => Promise<void>
}

/** Keeps the id across restarts. */
export interface IdStorage {
  readonly get: () => string | undefined
  readonly set: (id: string) => Promise<void>
}

/** `ask` returns the backend id of the stream now, past every cache; undefined without a stream, or if nobody can tell. */
export const makeBackendId = (
  storage: IdStorage,
  ask: (signal?: AbortSignal) => Promise<string | undefined>,
): BackendId => {
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
    throw new TransportError(`the answer names the backend id ${id}, which the server does not confirm`)
  }

  return { remembered, observe }
}

/**
 * LiveStore 0.4.0 writes the id unescaped into an SQL string literal (eventlog.ts, `updateBackendId`). An id may hold a
 * store's name (`path:{tenant}/{store}`, docs/http-api.md). Therefore quotes are escaped here.
 */
const toStored = (id: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: storages may refuse them, so they are escaped
  id.replace(/[%'\u0000-\u001f]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`)

const fromStored = (stored: string): string =>
  stored.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
