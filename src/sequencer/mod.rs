//! The Sequencer: one Durable Object a store, which drives the state machine of [`headwater_core::sequencer`] (`object`) and
//! keeps what that records (`storage`).

#[allow(missing_docs)] // of what #[durable_object] generates
mod object;
mod storage;
