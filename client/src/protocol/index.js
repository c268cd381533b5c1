/**
 * What Headwater and its clients agree on (docs/http-api.md), each rule once: the provider, the scripts, the tests and the
 * benches import it from here. Plain JavaScript, because some scripts run before anything is installed, in any Node from 20.
 * The JSON files in `spec/` hold the cases that this module and the Rust code must both pass.
 */
export * from './chain.js'
export * from './fence.js'
export * from './header-message.js'
export * from './headers.js'
export * from './names.js'
export * from './problem-type.js'
