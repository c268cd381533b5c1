// The systems that the benches measure, and their addresses. They are plain data, which can go to another process.

export const SYSTEMS = {
  headwater: { title: 'Headwater', role: 'ours' },
  'headwater-built-in': { title: 'Headwater, built-in log', role: 'ours' },
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
  /** The URL of its Worker; empty if it has none. */
  readonly workerUrl: string
  /** The URL of its Durable Streams server; empty if it has none. */
  readonly upstreamUrl: string
}

/** The process ids of its servers, by name. */
export type Processes = Readonly<Record<string, number | undefined>>

/** The metadata that a backend adds to each pulled event. The benches do not use it, so its type does not matter. */
// biome-ignore lint/suspicious/noExplicitAny: each system has its own
export type Metadata = any

/** The way in which a system stores its data. Stores that are filled for one system serve all systems with the same storage. */
export const storageOf = (system: SystemId): Storage => {
  if (system === 'sync-s2' || system === 'headwater-built-in') return system
  return system.startsWith('sync-cf') ? 'sync-cf' : 'streams'
}

export type Storage = 'streams' | 'headwater-built-in' | 'sync-cf' | 'sync-s2'
