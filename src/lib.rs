//! Headwater: a LiveStore sync backend on Durable Streams, as a Cloudflare Worker.
//!
//! This crate performs; [`headwater_core`] decides. A push passes the modules in this order:
//!
//! 1. [`edge`]: the stateless Worker authenticates, checks and reads.
//! 2. [`sequencer`]: the store's Durable Object knows the head, and appends one batch at a time.
//! 3. [`upstream`]: the requests to the Durable Streams server that keeps the log.

#![warn(unreachable_pub)]

mod auth;
mod edge;
#[cfg(feature = "failpoints")]
mod failpoints;
mod failure;
mod isolate;
mod lease;
mod log;
mod rate_limit;
mod request_log;
mod sequencer;
mod settings;
mod signature;
mod sql;
mod upstream;

use worker::{Context, Env, Request, Response, Result, event};

#[event(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    edge::handle(request, env, context).await
}
