//! The Worker at the edge: stateless, it authenticates, checks, reads, and calls the Sequencer for the rest.

mod auth;
mod context;
mod handler;
mod inspect;
mod lifetime;
mod push;
mod read;
mod ready;
mod remainder;
mod reply;
mod segment_cache;
mod sequencer_client;
mod stream_admin;
mod tip_cache;

pub use handler::handle;
