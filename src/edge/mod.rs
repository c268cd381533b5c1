//! The stateless Worker at the edge: it authenticates, checks and reads, and calls the Sequencer for everything else.

mod body;
mod connect;
mod context;
mod handler;
mod inspect;
mod lifetime;
mod moving;
mod push;
mod read;
mod ready;
mod remainder;
mod reply;
mod segment_cache;
mod sequencer_client;
mod stream_admin;
mod tip_cache;
mod write_headers;

pub(crate) use handler::handle;
