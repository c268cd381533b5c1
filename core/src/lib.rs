//! Everything in Headwater that decides, without IO, clock or randomness. It builds and is tested on any host; the Worker
//! (the crate `headwater`) performs what it decides.
//!
//! The modules follow the way of the data. A request is understood ([`route`], [`auth`], [`names`], [`batch`]), sequenced
//! ([`sequencer`]), and read back ([`log`], [`segments`]). What is refused becomes a [`problem`].

pub mod auth;
pub mod batch;
pub mod budget;
pub mod event;
pub mod log;
pub mod messages;
pub mod names;
pub mod problem;
pub mod push_stats;
pub mod request_log;
pub mod route;
pub mod segments;
pub mod sequencer;
pub mod settings;
pub mod timing;
