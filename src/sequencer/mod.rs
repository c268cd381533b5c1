//! The Sequencer: one Durable Object a store, holding its authoritative head.
//!
//! [`core`] decides, [`scan`] reads the log, [`plan`] tells what of it is sealed, [`call`] is what the Worker and the Sequencer say to
//! each other; the Wasm-only rest performs: `object` (the Durable Object), `storage` (its rows).

pub mod call;
pub mod core;
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs)] // of what #[durable_object] generates
mod object;
pub mod plan;
pub mod scan;
#[cfg(target_arch = "wasm32")]
mod storage;

#[cfg(target_arch = "wasm32")]
pub use object::Sequencer;
