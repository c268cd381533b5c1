//! The Sequencer: one Durable Object for each store.
//!
//! `object` takes calls of the Worker, and `frames` takes pushes of `sockets`. `actor` drives the state machine of
//! [`headwater_core::sequencer`] and carries out its effects, and `storage` keeps the rows.

mod actor;
mod frames;
#[allow(missing_docs)] // #[durable_object] generates public items
mod object;
mod sockets;
mod storage;
