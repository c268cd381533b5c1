//! The model check of the push protocol: every order of events in a small world, with the Sequencer's core as it ships.
//!
//! `cargo test -p headwater-core model::` checks small worlds, and `npm run model` larger ones.

mod checks;
mod upstream;
mod world;
