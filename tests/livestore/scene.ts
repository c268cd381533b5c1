// One store and its devices. Each device has a network of its own, where somebody else may answer, and shows its user what
// the provider says of its problems.
import type { CommonOptions } from '../../client/src/index.ts'
import { type CountingProxy, makeStranger, type Stranger, type Visit } from '../harness/index.ts'
import { makeOpened, type Parts } from './parts.ts'
import { checkLog, eventually, openStore, type TestStore } from './support.ts'

/** As the option `onProblem` is told (client/README.md). */
export interface Problem {
  readonly kind: string
  readonly detail: string
  readonly status?: number
  readonly url?: string
  readonly retryAfterMs?: number
  readonly seqNum?: number
}

/** What an app would show of the sync. */
export interface Badge {
  readonly options: { readonly onProblem: (problem: Problem | undefined) => void }
  /** All it was told, in order; undefined where all was well again. */
  readonly told: readonly (Problem | undefined)[]
  readonly shows: () => Problem | undefined
}

export const makeBadge = (): Badge => {
  const told: (Problem | undefined)[] = []
  return { options: { onProblem: (problem) => told.push(problem) }, told, shows: () => told.at(-1) }
}

export interface Device extends TestStore {
  readonly network: CountingProxy
  readonly stranger: Stranger
  readonly badge: Badge
  /** Ends what is open on its network, so that its next requests meet whoever is there now. */
  readonly cut: () => void
}

export interface Scene {
  readonly storeId: string
  readonly open: (name: string, options?: DeviceOptions) => Promise<Device>
  readonly stop: (device: Device) => Promise<void>
  /** The chain of the log as the upstream has it, checked. */
  readonly log: () => Promise<ReturnType<typeof checkLog>>
  readonly close: () => Promise<void>
}

interface DeviceOptions {
  readonly sync?: CommonOptions & { readonly headers?: () => Record<string, string> }
  readonly directory?: string
  readonly onBackendIdMismatch?: 'reset' | 'shutdown' | 'ignore'
}

/** Tests have no time for the ten seconds between two tries that users have by default. */
const RETRY = { maxDelay: 500 }

export const makeScene = (parts: Pick<Parts, 'newStore' | 'newNetwork' | 'atUpstream'>): Scene => {
  const storeId = parts.newStore()
  const opened = makeOpened()
  return {
    storeId,
    open: async (name, { sync, ...device } = {}) => {
      const network = await parts.newNetwork()
      const badge = makeBadge()
      const store = opened.add(
        await openStore({ name, storeId, sync: { url: network.url, retry: RETRY, ...badge.options, ...sync }, ...device }),
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
  network.requests.slice(-8).map(({ method, path, query, status }) => `${method} ${path}?${query} ${status ?? 'no answer'}`)

/** All have the same so many notes, nothing is pending, and each user sees that all is well. */
export const whole = (devices: readonly Device[], count: number, withinMs = 10_000): Promise<void> =>
  eventually(
    `everywhere the same ${count} notes, nothing pending, connected, and no problem`,
    () =>
      devices.every((_) => _.count() === count && _.pending() === 0 && _.isConnected() && _.badge.shows() === undefined) &&
      new Set(devices.map((_) => JSON.stringify(_.state()))).size === 1,
    () => statusOf(devices),
    withinMs,
  )

/** The stranger has answered the device. */
export const met = (device: Device, visit: Visit): Promise<void> =>
  eventually(`${device.name} meets the stranger`, () => visit.answered.length > 0, () => statusOf([device]), 5_000)

/** The device's user is shown a problem of this kind. */
export const shown = (device: Device, kind: string, withinMs = 3_000): Promise<void> =>
  eventually(`${device.name} tells of ${kind}`, () => device.badge.shows()?.kind === kind, () => statusOf([device]), withinMs)

/** The device's user is shown a problem of this kind, and that no events flow. */
export const troubled = (device: Device, kind: string, withinMs = 3_000): Promise<void> =>
  eventually(
    `${device.name} tells of ${kind}, and is not connected`,
    () => device.badge.shows()?.kind === kind && !device.isConnected(),
    () => statusOf([device]),
    withinMs,
  )

/** Of each problem once, however often it was met, and of its end. A connection that was cut may have been one, too. */
export const toldOnce = ({ badge }: Device): (string | undefined)[] =>
  badge.told.map((problem) => problem?.kind).filter((kind, i, all) => kind !== 'unreachable' && (kind !== undefined || i === all.length - 1))
