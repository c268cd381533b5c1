//! The core of Headwater: every decision, without IO, clock or randomness. The core builds and runs on any host. The
//! Worker (the crate `headwater`) performs what the core decides.
//!
//! The modules follow the data. [`route`], [`headers`], [`auth`], [`names`] and [`batch`] understand a request.
//! [`sequencer`] puts pushes in order. [`socket`] knows the frames of a live connection. [`log`] and [`segments`] read
//! events back. Each refusal becomes a [`problem`].

pub mod auth;
pub mod batch;
pub mod budget;
pub mod event;
pub mod headers;
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
pub mod socket;
pub mod timing;
pub mod turns;
