// One store and its devices. Each device has a network of its own, where somebody else may answer, and shows its user the
// problems that the provider reports.
import type { TestContext } from 'vitest'
import type { CommonOptions } from '../../client/src/index.ts'
import { type CountingProxy, makeStranger, type Stranger, type Visit } from '../harness/index.ts'
import { type Badge, makeBadge } from '../support/problems.ts'
import { eventually } from '../support/wait.ts'
import type { World } from '../support/world.ts'
import { makeOpened } from './parts.ts'
import { agree, checkLog, notesOf, openStore, type TestStore } from './support.ts'

export interface Device extends TestStore {
  readonly network: CountingProxy
  readonly stranger: Stranger
  readonly badge: Badge
  /** Ends the open connections of its network, so that its next requests meet the party that is there now. */
  readonly cut: () => void
}

export interface Scene {
  readonly storeId: string
  readonly open: (name: string, options?: DeviceOptions) => Promise<Device>
  readonly stop: (device: Device) => Promise<void>
  /** Checks the chain of the log at the upstream. */
  readonly log: () => Promise<ReturnType<typeof checkLog>>
  readonly close: () => Promise<void>
}

interface DeviceOptions {
  readonly sync?: CommonOptions & { readonly headers?: () => Record<string, string> }
  readonly directory?: string
  readonly onBackendIdMismatch?: 'reset' | 'shutdown' | 'ignore'
}

/** Tests have no time for the default of ten seconds between two tries. */
const RETRY = { maxDelay: 500 }

export const makeScene = (parts: Pick<World, 'newStore' | 'newNetwork' | 'atUpstream'>): Scene => {
  const storeId = parts.newStore()
  const opened = makeOpened()
  return {
    storeId,
    open: async (name, { sync, ...device } = {}) => {
      const network = await parts.newNetwork()
      const badge = makeBadge()
      const store = opened.add(
        await openStore({
          name,
          storeId,
          sync: { url: network.url, retry: RETRY, ...badge.options, ...sync },
          ...device,
        }),
      )
      return { ...store, network, stranger: makeStranger(network), badge, cut: network.abandon }
    },
    stop: (device) => device.stop(),
    log: async () => checkLog(await parts.atUpstream(storeId).messages()),
    close: opened.stopAll,
  }
}

const statusOf = (devices: readonly Device[]) =>
  devices.map((device) => ({ ...(device.status() as object), told: device.badge.told, asked: lastAsked(device) }))

const lastAsked = ({ network }: Device) =>
  network.requests
    .slice(-8)
    .map(({ method, path, query, status }) => `${method} ${path}?${query} ${status ?? 'no answer'}`)

/** Waits until all have the same `count` notes, nothing is pending, and each user sees that all is well. */
export const whole = (devices: readonly Device[], count: number, withinMs = 10_000): Promise<void> =>
  eventually(
    `everywhere the same ${count} notes, nothing pending, connected, and no problem`,
    () =>
      devices.every((_) => _.pending() === 0 && _.isConnected() && _.badge.shows() === undefined) &&
      agree(devices, count),
    () => statusOf(devices),
    withinMs,
  )

/** Waits until the stranger has answered the device. */
export const met = (device: Device, visit: Visit): Promise<void> =>
  eventually(
    `${device.name} meets the stranger`,
    () => visit.answered.length > 0,
    () => statusOf([device]),
    5_000,
  )

/** Waits until the device's user sees a problem of this kind. */
export const shown = (device: Device, kind: string, withinMs = 3_000): Promise<void> =>
  eventually(
    `${device.name} tells of ${kind}`,
    () => device.badge.shows()?.kind === kind,
    () => statusOf([device]),
    withinMs,
  )

/** Waits until the device's user sees a problem of this kind, and that no events flow. */
export const troubled = (device: Device, kind: string, withinMs = 3_000): Promise<void> =>
  eventually(
    `${device.name} tells of ${kind}, and is not connected`,
    () => device.badge.shows()?.kind === kind && !device.isConnected(),
    () => statusOf([device]),
    withinMs,
  )

/** Each reported problem once, and its end. It leaves out `unreachable`, because a cut connection may have been reported, too. */
export const toldOnce = ({ badge }: Device): (string | undefined)[] =>
  badge.told
    .map((problem) => problem?.kind)
    .filter((kind, i, all) => kind !== 'unreachable' && (kind !== undefined || i === all.length - 1))

/** Both devices go on as before: each writes, both see it, and the log has every event once. `made` counts their notes so far. */
export const goesOn = async (
  { expect }: TestContext,
  { a, b, log }: Pick<Scene, 'log'> & { readonly a: Device; readonly b: Device },
  made: { readonly a: number; readonly b: number },
): Promise<void> => {
  await whole([a, b], made.a + made.b)
  a.note(1)
  b.note(1)
  await whole([a, b], made.a + made.b + 2)
  const { events, notesOf: logged } = await log()
  expect([events, logged('a'), logged('b')]).toEqual([
    made.a + made.b + 2,
    notesOf('a', made.a + 1),
    notesOf('b', made.b + 1),
  ])
}
