//! The push protocol, model-checked: every order of events that a small world allows, with the
//! Sequencer's core as it is shipped.
//!
//! `cargo test -p headwater-core model::` checks worlds of a size for every day, `npm run model` larger ones.

mod checks;
mod world;
