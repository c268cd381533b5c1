// What is measured, and where a client finds it: plain data, so that it can go to another process.

export const SYSTEMS = {
  headwater: { title: 'Headwater', role: 'ours' },
  'headwater-hybrid': { title: 'Headwater, hybrid', role: 'ours' },
  'headwater-direct': { title: 'Headwater, direct', role: 'ours' },
  'sync-cf-ws': { title: 'sync-cf, WebSocket', role: 'rival' },
  'sync-cf-http': { title: 'sync-cf, HTTP', role: 'rival' },
  'sync-s2': { title: 'sync-s2 on s2-lite', role: 'rival' },
  floor: { title: 'upstream alone', role: 'floor' },
} as const

export type SystemId = keyof typeof SYSTEMS
export const SYSTEM_IDS = Object.keys(SYSTEMS) as SystemId[]

export interface Endpoint {
  readonly system: SystemId
  /** Where its Worker answers, if it has one. */
  readonly workerUrl: string
  /** The Durable Streams server, if it has one. */
  readonly upstreamUrl: string
}

/** What a backend adds to each event that it pulls. The benches make no cursor of it, therefore its type does not matter. */
// biome-ignore lint/suspicious/noExplicitAny: each system has its own
export type Metadata = any

/** The systems that keep their data in the same way: what is prepared for one serves the others. */
export const storageOf = (system: SystemId): 'streams' | 'sync-cf' | 'sync-s2' =>
  system === 'sync-s2' ? 'sync-s2' : system.startsWith('sync-cf') ? 'sync-cf' : 'streams'
