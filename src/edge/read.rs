//! `GET`: catch-up and live reads, straight from the upstream. The Sequencer is asked at most for a
//! look-up; bodies pass through the runtime without entering the Wasm module's memory.

use std::time::Duration;

use worker::{Env, Headers, Method, Request, Response};

use super::route::{Live, Read};
use super::{Failure, lookup, reply};
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::core::{Answer, Op};
use crate::settings::Settings;
use crate::upstream::{CLOSED, NEXT_OFFSET, NoAnswer, Stream, UP_TO_DATE, discard, retry_after};

/// Headers of the upstream's answer that a reader gets to see.
const PASSED_ON: [&str; 7] =
    ["content-type", "etag", NEXT_OFFSET, UP_TO_DATE, "stream-cursor", CLOSED, "stream-sse-data-encoding"];

/// Answers a read.
pub async fn read(
    request: &Request,
    env: &Env,
    settings: &Settings,
    store: &StorePath,
    read: Read,
) -> Result<Response, Failure> {
    let stream = Stream::new(settings.upstream.clone(), store.as_str());
    let condition = request.headers().get("if-none-match")?;
    let mut known = lookup::known(env, store).await?;
    let mut response = fetch(&stream, &read, condition.as_deref()).await?;
    if response.status_code() == 404 {
        discard(&response);
        // The Sequencer may not know yet that the stream is gone, or that there never was one.
        let op = if read.live.is_some() { Op::Ensure } else { Op::Look { fresh: true } };
        let tip = match lookup::call(env, store, op, None).await? {
            Answer::Tip(Some(tip)) => tip,
            _ => return Ok(reply::empty_page(&read.offset)?),
        };
        known = Some(tip.into());
        response = fetch(&stream, &read, condition.as_deref()).await?;
    }
    let response = checked(response).map_err(|problem| problem.of(known.as_ref().map(|known| &known.backend_id)))?;
    let headers = passed_on(&response)?;
    if let Some(known) = known {
        reply::identify(&headers, &known.backend_id, known.head)?;
    }
    Ok(response.with_headers(headers))
}

async fn fetch(stream: &Stream, read: &Read, condition: Option<&str>) -> Result<Response, Failure> {
    // In the order of the names, as the protocol wants it for caches (§10.1).
    let cursor = read.cursor.as_ref().map(|c| format!("cursor={c}&")).unwrap_or_default();
    let live = match read.live {
        None => "",
        Some(Live::LongPoll) => "live=long-poll&",
        Some(Live::Sse) => "live=sse&",
    };
    let query = format!("?{cursor}{live}offset={}", read.offset.0);
    let condition = condition.map(|tag| ("if-none-match", tag));
    let headers: Vec<(&str, &str)> = condition.into_iter().collect();
    let patience = if read.live == Some(Live::LongPoll) { LONG_POLL } else { Duration::ZERO };
    stream
        .send_patiently(patience, Method::Get, &query, &headers, None)
        .await
        .map_err(|NoAnswer| Problem::unavailable().into())
}

/// How long a long-poll may wait for news, beyond the upstream's time-out.
const LONG_POLL: Duration = Duration::from_secs(60);

/// What the upstream may answer a read with; everything else becomes a problem.
fn checked(response: Response) -> Result<Response, Problem> {
    let status = response.status_code();
    let kind = response.headers().get("content-type").ok().flatten().unwrap_or_default();
    let is_log = kind.starts_with("application/json") || kind.starts_with("text/event-stream");
    if matches!(status, 204 | 304) || (status == 200 && is_log) {
        return Ok(response);
    }
    discard(&response);
    Err(match status {
        400 => Problem::bad_request("offset", "The log's server does not know this offset."),
        404 | 500.. => Problem::unavailable(),
        410 => Problem::gone(),
        429 => Problem::rate_limited(retry_after(&response)),
        _ => Problem::upstream_refused(status),
    })
}

fn passed_on(response: &Response) -> Result<Headers, Failure> {
    let headers = Headers::new();
    for name in PASSED_ON {
        if let Some(value) = response.headers().get(name)? {
            headers.set(name, &value)?;
        }
    }
    // Nothing that ends at the tail is final.
    headers.set("cache-control", "no-store")?;
    Ok(headers)
}
