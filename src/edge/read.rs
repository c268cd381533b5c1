//! `GET`: sealed history from the edge cache; the tail, and what is live, straight from the upstream.
//! The Sequencer is asked at most for a look-up; what the upstream answers passes through the runtime
//! without entering the Wasm module's memory.

use std::time::Duration;

use worker::{Context, Env, Headers, Method, Request, Response};

use super::auth::Grant;
use super::history::{self, Page};
use super::lifetime;
use super::lookup::{self, Known};
use super::route::{Live, Read};
use super::timing::{Timing, now};
use super::{Failure, reply};
use crate::event::{Offset, SeqNum};
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::call::{Located, Position};
use crate::sequencer::core::{Answer, Need, Op};
use crate::settings::Settings;
use crate::upstream::{CLOSED, NEXT_OFFSET, NoAnswer, Stream, UP_TO_DATE, discard, retry_after};

/// Headers of the upstream's answer that a reader gets to see.
const PASSED_ON: [&str; 7] =
    ["content-type", "etag", NEXT_OFFSET, UP_TO_DATE, "stream-cursor", CLOSED, "stream-sse-data-encoding"];

/// Answers a read.
pub async fn read(
    request: &Request,
    env: &Env,
    context: &Context,
    grant: &Grant,
    store: &StorePath,
    read: Read,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let settings = Settings::of(env)?;
    let condition = request.headers().get("if-none-match")?;
    let stream = || Stream::new(settings.upstream.clone(), store.as_str());
    let mut known = lookup::known(env, store).await?;
    let from = match read.from {
        Position::Offset(offset) => offset,
        Position::After(seq) => offset_after(env, store, seq).await?,
    };
    timing.lap("sequencer", now());
    if let (None, Some(sought)) = (read.live, known.as_ref().filter(|known| known.is_sealed_at(&from))) {
        let page = history::page(env, context, stream(), store, sought, &from).await;
        timing.lap("history", now());
        if let Some(page) = page? {
            return sealed(page, sought, condition.as_deref(), settings.auth.header());
        }
        // It may have turned out to be of another life.
        known = lookup::known(env, store).await?;
    }
    let read = Passage { from, live: read.live, cursor: read.cursor, condition, until: grant.until() };
    pass_through(env, store, &stream(), read, known, timing).await
}

/// The offset of the append that holds the event after `seq`.
async fn offset_after(env: &Env, store: &StorePath, seq: SeqNum) -> Result<Offset, Failure> {
    match lookup::locate(env, store, Position::After(seq)).await? {
        Located::Found { plan, .. } => Ok(plan.from),
        Located::Beyond { head, backend_id } => Err(Problem::beyond(seq, head).of(backend_id.as_ref()).into()),
        // Without an index: a log that is no chain is read all the same, and judged by who reads it.
        Located::Unknown | Located::Refused(Answer::Halted(..)) => Ok(Offset(Offset::START.into())),
        Located::Refused(answer) => Err(Problem::from_answer(&answer).unwrap_or_else(Problem::unavailable).into()),
    }
}

/// A sealed segment: final, for as long as the backend lives.
fn sealed(page: Page, known: &Known, condition: Option<&str>, token_header: &str) -> Result<Response, Failure> {
    let Page { response, hit } = page;
    let headers = passed_on(&response)?;
    // For the browser's own cache, and there not for whoever logs in next.
    headers.set("cache-control", "private, max-age=31536000, immutable")?;
    headers.set("vary", token_header)?;
    headers.set(reply::CACHE, if hit { "HIT" } else { "MISS" })?;
    reply::identify(&headers, &known.tip)?;
    let tag = headers.get("etag")?;
    if tag.as_deref().is_some_and(|tag| condition.is_some_and(|condition| matches(condition, tag))) {
        discard(&response);
        return Ok(Response::empty()?.with_status(304).with_headers(headers));
    }
    Ok(response.with_headers(headers))
}

/// `If-None-Match` (RFC 9110 §13.1.2): a list of tags, weak ones too, or `*`.
fn matches(condition: &str, tag: &str) -> bool {
    condition.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// A read that the upstream answers.
struct Passage {
    from: Offset,
    live: Option<Live>,
    cursor: Option<String>,
    condition: Option<String>,
    /// When it is to end, in milliseconds since 1970.
    until: Option<u64>,
}

async fn pass_through(
    env: &Env,
    store: &StorePath,
    stream: &Stream,
    read: Passage,
    mut known: Option<Known>,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let mut response = fetch(stream, &read).await?;
    if response.status_code() == 404 {
        discard(&response);
        // The Sequencer may not know yet that the stream is gone, or that there never was one.
        let op = if read.live.is_some() { Op::Ensure } else { Op::Look(Need::Fresh) };
        let tip = match lookup::call(env, store, op, None).await? {
            Answer::Tip(Some(tip)) => tip,
            _ => return Ok(reply::empty_page(&read.from)?),
        };
        known = Some(tip.into());
        response = fetch(stream, &read).await?;
    }
    timing.lap("upstream", now());
    if known.is_none() && response.status_code() < 300 {
        known = vouched(env, store).await?;
    }
    if response.status_code() == 400 {
        // The log does not know an offset of its own index?
        lookup::doubt(store);
    }
    let response =
        checked(response, &read).map_err(|problem| problem.of(known.as_ref().map(|known| &known.tip.backend_id)))?;
    let headers = passed_on(&response)?;
    if let (true, Some(tail)) = (headers.has(UP_TO_DATE)?, headers.get(NEXT_OFFSET)?) {
        lookup::saw(store, &read.from, Offset(tail));
    }
    if let Some(known) = known {
        reply::identify(&headers, &known.tip)?;
    }
    // Whose token has expired hears no more. (A long-poll is one answer, to who was let in.)
    match read.until.filter(|_| read.live == Some(Live::Sse) && response.status_code() == 200) {
        Some(until) => Ok(lifetime::ending_at(response, until)?.with_headers(headers)),
        None => Ok(response.with_headers(headers)),
    }
}

/// What the Sequencer makes of a stream that it had not heard of before the read: one that was made meanwhile, or by
/// something else. `None` if it can't tell whose it is; then the answer says nothing of it either.
async fn vouched(env: &Env, store: &StorePath) -> Result<Option<Known>, Failure> {
    match lookup::call(env, store, Op::Look(Need::Fresh), None).await {
        Ok(Answer::Tip(tip)) => Ok(tip.map(Known::from)),
        Ok(_) | Err(Failure::Problem(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn fetch(stream: &Stream, read: &Passage) -> Result<Response, Failure> {
    // In the order of the names, as the protocol wants it for caches (§10.1).
    let cursor = read.cursor.as_ref().map(|c| format!("cursor={c}&")).unwrap_or_default();
    let live = match read.live {
        None => "",
        Some(Live::LongPoll) => "live=long-poll&",
        Some(Live::Sse) => "live=sse&",
    };
    let query = format!("?{cursor}{live}offset={}", read.from.0);
    let condition = read.condition.as_deref();
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

/// What the upstream may answer a read with; everything else becomes a problem. Only a page of the log says where it ends
/// (protocol §5.6, §5.7); server-sent events say so themselves (§5.8).
fn checked(response: Response, read: &Passage) -> Result<Response, Problem> {
    let status = response.status_code();
    let kind = response.headers().get("content-type").ok().flatten().unwrap_or_default();
    let has_end = response.headers().has(NEXT_OFFSET).unwrap_or(false);
    let is_page = status == 200 && kind.starts_with("application/json") && has_end;
    let is_answer = match read.live {
        None => is_page,
        Some(Live::LongPoll) => is_page || (status == 204 && has_end),
        Some(Live::Sse) => status == 200 && kind.starts_with("text/event-stream"),
    };
    if is_answer || (status == 304 && read.condition.is_some()) {
        return Ok(response);
    }
    discard(&response);
    Err(match status {
        // The server's own word, and no log of events.
        200 if has_end => Problem::upstream_refused(status),
        400 => Problem::bad_request("offset", "The log's server does not know this offset."),
        ..400 | 404 | 500.. => Problem::unavailable(),
        410 if read.from.0 == Offset::START => Problem::trimmed(),
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
