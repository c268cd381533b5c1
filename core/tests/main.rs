//! The tests of the core: its parts, simulated worlds of clients, Sequencers and a faulty upstream, and the model check.

mod assemble;
mod auth;
mod batch;
mod budget;
mod call;
mod headers;
mod messages;
mod model;
mod names;
mod pages;
mod paging;
mod plan;
mod push_stats;
mod request_log;
mod route;
mod sequencer;
mod settings;
mod socket;
mod support;
mod turns;
mod upstream_url;
mod vectors;
