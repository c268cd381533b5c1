//! `GET /ready`: whether the upstream can be reached, and each of its shards. The route is open to everyone. Therefore
//! it tells nothing else, and asks the upstream at most once a second.

use std::cell::Cell;
use std::time::Duration;

use futures::channel::oneshot;
use headwater_core::problem::Problem;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Method, Response};

use super::reply;
use crate::failure::Failure;
use crate::isolate::{as_ms, now_ms, wait_while};
use crate::settings::{Settings, UpstreamSettings};
use crate::upstream::{Stream, StreamRequest, discard};

/// How long the upstream may take, unless `UPSTREAM_TIMEOUT_MS` is shorter.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a result is used again.
const FRESH_MS: u64 = 1_000;

/// A path that no store's stream has. A stream's path has two segments, and no segment begins with `~` (docs/http-api.md,
/// "Upstream").
const PROBE_PATH: &str = "~ready";

#[derive(Clone, Copy, Default)]
struct Probe {
    /// The result of the last finished probe.
    reachable: Option<bool>,
    /// Until then no new probe starts: the result is fresh, or a probe is under way.
    until_ms: u64,
}

thread_local! {
    static LAST: Cell<Probe> = Cell::default();
}

/// 200 if the upstream answers, else 503.
pub(super) async fn ready(settings: &Settings) -> Result<Response, Failure> {
    if is_reachable(settings).await {
        Ok(reply::status("ready")?)
    } else {
        Err(Problem::unavailable().into())
    }
}

async fn is_reachable(settings: &Settings) -> bool {
    let is_first_under_way =
        || matches!(LAST.get(), Probe { reachable: None, until_ms } if now_ms() < until_ms);
    wait_while(is_first_under_way, TIMEOUT).await;
    match LAST.get() {
        // While a later probe is under way, the result before it is seconds old at most. Without a result, the first
        // probe is slower than its timeout, or its request has ended. Its waiters must not all probe.
        Probe { reachable, until_ms } if now_ms() < until_ms => reachable.unwrap_or(false),
        _ => probe(settings).await,
    }
}

async fn probe(settings: &Settings) -> bool {
    let Some(url) = &settings.upstream.url else { return true };
    let timeout = settings.upstream.timeout.min(TIMEOUT);
    LAST.set(Probe { until_ms: now_ms() + as_ms(timeout), ..LAST.get() });
    // All at the same time. Each answers within its timeout.
    let mut answers = Vec::new();
    for shard in 0..url.shards() {
        let settings = UpstreamSettings { timeout, ..settings.upstream.clone() };
        let stream = Stream::new(settings, &url.of(shard), PROBE_PATH);
        let (to_probe, answer) = oneshot::channel();
        answers.push(answer);
        spawn_local(async move {
            let answer = stream.send(StreamRequest::new(Method::Head)).await;
            let _ = to_probe.send(answer.is_ok_and(|response| {
                discard(&response);
                response.status_code() < 500
            }));
        });
    }
    let mut reachable = true;
    for answer in answers {
        reachable &= answer.await.unwrap_or(false);
    }
    LAST.set(Probe { reachable: Some(reachable), until_ms: now_ms() + FRESH_MS });
    reachable
}
