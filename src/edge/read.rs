//! `GET`: sealed history from the edge cache; the tail, and what is live, straight from the upstream.
//! The Sequencer is asked at most for a look-up; what the upstream answers passes through the runtime
//! without entering the Wasm module's memory.

use std::time::Duration;

use headwater_core::event::{Offset, Position, SeqNum};
use headwater_core::problem::Problem;
use headwater_core::route::{Live, Read};
use headwater_core::segments::pages::{self, Interior};
use headwater_core::sequencer::call::Located;
use headwater_core::sequencer::{Answer, Need, Op};
use headwater_core::timing::Timing;
use worker::{Headers, Method, Response};

use super::context::{Failure, StoreRequest};
use super::segment_cache::{self, Page, SegmentCache};
use super::tip_cache::{self, KnownTip};
use super::{lifetime, remainder, reply, sequencer_client};
use crate::isolate::now;
use crate::upstream::{CLOSED, NEXT_OFFSET, NoAnswer, Stream, UP_TO_DATE, discard, retry_after};

/// Headers of the upstream's answer that a reader gets to see.
const PASSED_ON: [&str; 7] = [
    "content-type",
    "etag",
    NEXT_OFFSET,
    UP_TO_DATE,
    "stream-cursor",
    CLOSED,
    "stream-sse-data-encoding",
];

/// Answers a read.
pub async fn read(
    on: &StoreRequest<'_>,
    read: Read,
    condition: Option<String>,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let (mut known, mut located) = sequencer_client::tip(on, sought(&read)).await?;
    let from = match read.from {
        Position::Offset(offset) => offset,
        Position::After(seq) => {
            let place = match located {
                Some(place) => place,
                None => sequencer_client::locate(on, Position::After(seq)).await?,
            };
            located = Some(place.clone());
            offset_after(seq, place)?
        }
    };
    timing.lap("sequencer", now());
    if let (None, Some(tip)) = (read.live, known.as_ref().filter(|known| known.is_sealed_at(&from)))
    {
        let cache = SegmentCache::open(on.host, on.store, tip.incarnation()).await;
        let page = segment_cache::page(on, cache, &from, located).await;
        timing.lap("history", now());
        if let Some(page) = page? {
            return sealed(page, tip, condition.as_deref(), on.settings.auth.header());
        }
        // It may have turned out to be of another incarnation.
        (known, _) = sequencer_client::tip(on, None).await?;
    }
    if let Some(interior) = Interior::parse(&from) {
        let response = remainder::after(interior, read.live, &on.stream()).await?;
        if let Some(known) = known {
            reply::identify(response.headers(), &known.tip)?;
        }
        return Ok(response);
    }
    let read =
        Passage { from, live: read.live, cursor: read.cursor, condition, until: on.grant.until() };
    pass_through(on, read, known, timing).await
}

/// The place that a read may want to know; a live read goes on from what its reader has.
fn sought(read: &Read) -> Option<Position> {
    match &read.from {
        Position::After(seq) => Some(Position::After(*seq)),
        Position::Offset(_) if read.live.is_some() => None,
        Position::Offset(offset) => Some(Position::Offset(pages::begin_of(offset))),
    }
}

/// The offset of the append that holds the event after `seq`.
fn offset_after(seq: SeqNum, place: Located) -> Result<Offset, Failure> {
    match place {
        Located::Found { plan, .. } => Ok(plan.from),
        Located::Beyond { head, backend_id } => {
            Err(Problem::beyond(seq, head).of(backend_id.as_ref()).into())
        }
        // Without an index: a log that is no chain is read all the same, and judged by who reads it.
        Located::Unknown | Located::Refused(Answer::Halted(..)) => Ok(Offset(Offset::START.into())),
        Located::Refused(answer) => {
            Err(answer.problem().unwrap_or_else(Problem::unavailable).into())
        }
    }
}

/// A sealed segment: final, for as long as the backend lives.
fn sealed(
    page: Page,
    known: &KnownTip,
    condition: Option<&str>,
    token_header: &str,
) -> Result<Response, Failure> {
    let Page { response, source } = page;
    let headers = passed_on(&response)?;
    // For the browser's own cache, and there not for whoever logs in next.
    headers.set("cache-control", "private, max-age=31536000, immutable")?;
    headers.set("vary", token_header)?;
    headers.set(reply::CACHE, source)?;
    reply::identify(&headers, &known.tip)?;
    let tag = headers.get("etag")?;
    if tag.as_deref().is_some_and(|tag| condition.is_some_and(|condition| matches(condition, tag)))
    {
        discard(&response);
        return Ok(Response::empty()?.with_status(304).with_headers(headers));
    }
    Ok(response.with_headers(headers))
}

/// `If-None-Match` (RFC 9110 §13.1.2): a list of tags, weak ones too, or `*`.
fn matches(condition: &str, tag: &str) -> bool {
    condition
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
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
    on: &StoreRequest<'_>,
    read: Passage,
    mut known: Option<KnownTip>,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let stream = on.stream();
    let mut response = fetch(&stream, &read).await?;
    if response.status_code() == 404 {
        discard(&response);
        // The Sequencer may not know yet that the stream is gone, or that there never was one.
        let op = if read.live.is_some() { Op::Ensure } else { Op::Look(Need::Fresh) };
        let tip = match sequencer_client::call(on, op).await? {
            Answer::Tip(Some(tip)) => tip,
            _ => return Ok(reply::empty_page(&read.from)?),
        };
        known = Some(tip.into());
        response = fetch(&stream, &read).await?;
    }
    timing.lap("upstream", now());
    if known.is_none() && response.status_code() < 300 {
        known = vouched(on).await?;
    }
    if response.status_code() == 400 {
        // The log does not know an offset of its own index?
        tip_cache::invalidate(on.store);
    }
    let response = checked(response, &read)
        .map_err(|problem| problem.of(known.as_ref().map(|known| &known.tip.backend_id)))?;
    let headers = passed_on(&response)?;
    if let (true, Some(tail)) = (headers.has(UP_TO_DATE)?, headers.get(NEXT_OFFSET)?) {
        tip_cache::observe_tail(on.store, &read.from, Offset(tail));
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
async fn vouched(on: &StoreRequest<'_>) -> Result<Option<KnownTip>, Failure> {
    match sequencer_client::call(on, Op::Look(Need::Fresh)).await {
        Ok(Answer::Tip(tip)) => Ok(tip.map(KnownTip::from)),
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
        400 => Problem::unknown_offset(),
        ..400 | 404 | 500.. => Problem::unavailable(),
        410 if read.from.0 == Offset::START => Problem::trimmed(),
        410 => Problem::gone(),
        429 => Problem::rate_limited(retry_after(&response)),
        _ => Problem::upstream_refused(status),
    })
}

/// What a reader gets to see of the head of the upstream's answer.
pub fn passed_on(response: &Response) -> Result<Headers, Failure> {
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
