//! The Sequencer: one Durable Object for each store.
//!
//! `object` takes calls. `actor` drives the state machine of [`headwater_core::sequencer`] and carries out its effects, and
//! `storage` keeps the rows.

mod actor;
#[allow(missing_docs)] // #[durable_object] generates public items
mod object;
mod storage;
