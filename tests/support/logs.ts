// Everything that can keep the log of a store.
import { noUpstream, startNodeUpstream, startRustUpstream } from '../harness/index.ts'

export const upstreams = [
  { name: 'the Rust server', start: startRustUpstream },
  { name: 'the Node reference server', start: startNodeUpstream },
]

/** Nobody but the Sequencer writes to a built-in log, and nobody sees the requests to it. */
export const logs = [
  ...upstreams.map((upstream) => ({ ...upstream, isBuiltIn: false })),
  { name: 'the built-in log', start: async () => noUpstream, isBuiltIn: true },
]
