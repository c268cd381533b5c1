//! Headwater: a LiveStore sync backend on Durable Streams.
//!
//! The modules follow the way of the data: [`edge`] (the stateless Worker: routes, checks, reads) →
//! [`sequencer`] (one Durable Object a store: the authoritative head, one append at a time) →
//! [`upstream`] (requests to the Durable Streams server that keeps the log).
//!
//! What decides needs no runtime and builds on any host: [`names`], [`batch`], [`budget`], [`messages`],
//! [`problem`], [`tally`], [`edge::route`], [`edge::cut`], [`sequencer::core`], [`sequencer::plan`], [`way`]. What performs it builds for Wasm only.

pub mod batch;
pub mod budget;
#[cfg(all(feature = "panic-drill", target_arch = "wasm32"))]
pub mod drill;
pub mod edge;
pub mod event;
#[cfg(target_arch = "wasm32")]
pub mod lease;
pub mod messages;
pub mod names;
pub mod problem;
pub mod sequencer;
#[cfg(target_arch = "wasm32")]
pub mod settings;
pub mod tally;
#[cfg(target_arch = "wasm32")]
pub mod upstream;
pub mod way;

#[cfg(target_arch = "wasm32")]
mod entry {
    use worker::{Context, Env, Request, Response, Result, event};

    #[event(start)]
    fn start() {
        console_error_panic_hook::set_once();
    }

    #[event(fetch)]
    async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
        crate::edge::handle(request, env, context).await
    }
}
