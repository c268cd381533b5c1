//! Headwater: a LiveStore sync backend on Durable Streams, as a Cloudflare Worker.
//!
//! This crate performs; [`headwater_core`] decides. The modules follow the way of the data: [`edge`] (the stateless Worker:
//! authentication, checks, reads) → [`sequencer`] (one Durable Object a store: the authoritative head, one append at a
//! time) → [`upstream`] (requests to the Durable Streams server that keeps the log).

mod edge;
#[cfg(feature = "failpoints")]
mod failpoints;
mod isolate;
mod lease;
mod sequencer;
mod settings;
mod signature;
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
