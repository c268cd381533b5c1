//! `GET /ready`: can the log's server be reached? Open to everyone, so it tells nothing else, and asks seldom.

use std::cell::Cell;
use std::time::Duration;

use headwater_core::problem::Problem;
use worker::{Method, Response};

use super::context::Failure;
use super::reply;
use crate::isolate::{now, wait_while};
use crate::settings::{Settings, UpstreamSettings};
use crate::upstream::{Stream, discard};

/// How long the upstream may take, if it is not to answer sooner anyway.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer is good for.
const FRESH_MS: u64 = 1_000;

/// No store's stream: that has two segments, and none of them begins so (docs/http-api.md, "Upstream").
const PROBE: &str = "~ready";

#[derive(Clone, Copy, Default)]
struct Seen {
    reachable: Option<bool>,
    /// Until when nobody asks: the answer is fresh, or someone is asking.
    until: u64,
}

thread_local! {
    static SEEN: Cell<Seen> = Cell::default();
}

/// 200 if the upstream answers at all, else 503.
pub async fn ready(settings: &Settings) -> Result<Response, Failure> {
    if is_reachable(settings).await {
        Ok(reply::status("ready")?)
    } else {
        Err(Problem::unavailable().into())
    }
}

async fn is_reachable(settings: &Settings) -> bool {
    let is_open = || matches!(SEEN.get(), Seen { reachable: None, until } if now() < until);
    wait_while(is_open, PATIENCE).await;
    match SEEN.get() {
        // Maybe of before the question that is open: that one is answered within seconds.
        Seen { reachable: Some(reachable), until } if now() < until => reachable,
        _ => ask(settings).await,
    }
}

async fn ask(settings: &Settings) -> bool {
    let timeout = settings.upstream.timeout.min(PATIENCE);
    let until = now() + u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    SEEN.set(Seen { until, ..SEEN.get() });
    let stream = Stream::new(UpstreamSettings { timeout, ..settings.upstream.clone() }, PROBE);
    let answer = stream.send_patiently(Duration::ZERO, Method::Head, "", &[], None).await;
    let reachable = answer.is_ok_and(|response| {
        discard(&response);
        response.status_code() < 500
    });
    SEEN.set(Seen { reachable: Some(reachable), until: now() + FRESH_MS });
    reachable
}
