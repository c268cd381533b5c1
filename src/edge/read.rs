//! `GET`: sealed history comes from the edge cache, the unsealed tail and live reads from the upstream.
//!
//! The Worker calls the Sequencer at most for a look-up. The upstream's answers pass through the runtime, and their bytes
//! don't enter the Wasm module's memory.

use std::time::Duration;

use headwater_core::event::{Offset, Position, SeqNum};
use headwater_core::headers::{names_tag, single_tag};
use headwater_core::problem::Problem;
use headwater_core::route::{Live, Read};
use headwater_core::segments::pages::{self, Interior};
use headwater_core::sequencer::call::Located;
use headwater_core::sequencer::{Answer, Need, Op};
use headwater_core::timing::Timing;
use worker::{Headers, Method, Response};

use super::context::StoreContext;
use super::segment_cache::{self, CachedPage, SegmentCache};
use super::tip_cache::{self, KnownTip};
use super::{lifetime, remainder, reply, sequencer_client};
use crate::failure::Failure;
use crate::isolate::{now_ms, within};
use crate::upstream::{
    CLOSED, LONG_POLL, Metadata, NEXT_OFFSET, NoAnswer, Stream, StreamRequest, UP_TO_DATE, discard,
    retry_after,
};

/// Headers of the upstream's answer that the reader receives.
const FORWARDED_HEADERS: [&str; 7] = [
    "content-type",
    "etag",
    NEXT_OFFSET,
    UP_TO_DATE,
    "stream-cursor",
    CLOSED,
    "stream-sse-data-encoding",
];

/// How long a page of sealed history waits for the upstream to say whether the log ends there.
const TAIL_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers a read.
pub(super) async fn read(
    ctx: &StoreContext<'_>,
    read: Read,
    if_none_match: Option<String>,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let (mut known, mut located) = sequencer_client::tip(ctx, position_to_locate(&read)).await?;
    let from = match read.from {
        Position::Offset(offset) => offset,
        Position::After(seq) => {
            let place = match located {
                Some(place) => place,
                None => sequencer_client::locate(ctx, Position::After(seq)).await?,
            };
            let offset = offset_after(seq, &place)?;
            // Any other answer says nothing about the place that the read begins at.
            located = matches!(place, Located::Found { .. }).then_some(place);
            offset
        }
    };
    timing.lap("sequencer", now_ms());
    let in_pages = read.live.is_none() && !read.whole;
    if let Some(tip) = known.as_ref().filter(|known| in_pages && known.is_sealed_at(&from)) {
        let cache = SegmentCache::open(ctx.host, ctx.store, tip.incarnation()).await;
        let page = segment_cache::read(ctx, cache, &from, located).await;
        timing.lap("history", now_ms());
        if let Some(page) = page? {
            return sealed(ctx, page, tip, if_none_match.as_deref()).await;
        }
        // The tip may have turned out to be of another incarnation.
        (known, _) = sequencer_client::tip(ctx, None).await?;
    }
    if let Some(interior) = Interior::parse(&from) {
        let Some(response) = remainder::after(interior, read.live, &ctx.stream()).await? else {
            return match sequencer_client::call(ctx, Op::Look(Need::Fresh)).await? {
                Answer::Tip(None) => Ok(reply::empty_page()?),
                _ => Err(Problem::unknown_offset().into()),
            };
        };
        if let Some(known) = known {
            reply::identify(response.headers(), &known.tip)?;
        }
        return Ok(response);
    }
    let read = UpstreamRead {
        from,
        live: read.live,
        cursor: read.cursor,
        if_none_match,
        token_end_ms: ctx.grant.until(),
    };
    pass_through(ctx, read, known, timing).await
}

/// The position whose place the read needs. A live read by offset needs none.
fn position_to_locate(read: &Read) -> Option<Position> {
    match &read.from {
        Position::After(seq) => Some(Position::After(*seq)),
        Position::Offset(_) if read.live.is_some() || read.whole => None,
        Position::Offset(offset) => Some(Position::Offset(pages::begin_of(offset))),
    }
}

/// The offset of the append that holds the event after `seq`.
fn offset_after(seq: SeqNum, place: &Located) -> Result<Offset, Failure> {
    match place {
        Located::Found { plan, .. } => Ok(plan.from.clone()),
        Located::Beyond { head, backend_id } => {
            Err(Problem::beyond(seq, *head).of(backend_id.as_ref()).into())
        }
        // Without an index the read begins at the start. The reader itself judges a log that is no chain.
        Located::Unknown | Located::Refused(Answer::Halted(..)) => Ok(Offset(Offset::START.into())),
        Located::Refused(answer) => {
            Err(answer.problem().unwrap_or_else(Problem::unavailable).into())
        }
    }
}

/// The answer with a sealed segment. It is final as long as the incarnation lasts, unless it ends at the tail.
async fn sealed(
    ctx: &StoreContext<'_>,
    page: CachedPage,
    known: &KnownTip,
    if_none_match: Option<&str>,
) -> Result<Response, Failure> {
    let CachedPage { response, x_cache } = page;
    let headers = forwarded_headers(&response)?;
    match log_that_ends_at(headers.get(NEXT_OFFSET)?, ctx, known).await {
        Some(log) => {
            headers.set(UP_TO_DATE, "true")?;
            if let (true, Some(etag)) = (log.is_closed, headers.get("etag")?) {
                headers.set(CLOSED, "true")?;
                // The tag must change when the stream is closed (protocol §10.1).
                headers.set("etag", &format!("{}:c\"", etag.trim_end_matches('"')))?;
            }
        }
        // The browser's own cache may keep the segment, but only for this token.
        None => headers.set("cache-control", "private, max-age=31536000, immutable")?,
    }
    headers.set("vary", ctx.settings.auth.header())?;
    headers.set(reply::CACHE, x_cache)?;
    reply::identify(&headers, &known.tip)?;
    unless_known(response, headers, if_none_match)
}

/// The upstream's log, if it ends at the end of a page. The remembered tip may be too old to tell. `None` if the upstream
/// can't tell soon: then the reader's next request learns it.
async fn log_that_ends_at(
    end: Option<String>,
    ctx: &StoreContext<'_>,
    known: &KnownTip,
) -> Option<Metadata> {
    let end = Offset(end.filter(|end| *end >= known.tip.offset.0)?);
    let stream = ctx.stream();
    let log = within(TAIL_TIMEOUT, Box::pin(stream.metadata())).await.ok()?.ok()?;
    (log.tail == end).then_some(log)
}

/// The answer, or a 304 if the reader knows it already (RFC 9110 §13.1.2).
fn unless_known(
    response: Response,
    headers: Headers,
    if_none_match: Option<&str>,
) -> Result<Response, Failure> {
    if let (Some(etag), Some(tags)) = (headers.get("etag")?, if_none_match)
        && response.status_code() == 200
        && names_tag(tags, &etag)
    {
        discard(&response);
        return Ok(Response::empty()?.with_status(304).with_headers(headers));
    }
    Ok(response.with_headers(headers))
}

/// A read that the upstream answers.
struct UpstreamRead {
    from: Offset,
    live: Option<Live>,
    cursor: Option<String>,
    if_none_match: Option<String>,
    /// When the reader's token expires, in milliseconds since 1970.
    token_end_ms: Option<u64>,
}

async fn pass_through(
    ctx: &StoreContext<'_>,
    read: UpstreamRead,
    mut known: Option<KnownTip>,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let stream = ctx.stream();
    let mut response = fetch(&stream, &read).await?;
    if response.status_code() == 404 {
        discard(&response);
        // The Sequencer may not know yet that the stream is gone, or that it never existed.
        let op = if read.live.is_some() { Op::Ensure } else { Op::Look(Need::Fresh) };
        let tip = match sequencer_client::call(ctx, op).await? {
            Answer::Tip(Some(tip)) => tip,
            _ => return Ok(reply::empty_page()?),
        };
        known = Some(tip.into());
        response = fetch(&stream, &read).await?;
    }
    timing.lap("upstream", now_ms());
    if known.is_none() && response.status_code() < 300 {
        known = fresh_tip(ctx).await?;
    }
    if response.status_code() == 400 {
        // The log may not know an offset of its own index.
        tip_cache::invalidate(ctx.store);
    }
    let response = check(response, &read)
        .map_err(|problem| problem.of(known.as_ref().map(|known| &known.tip.backend_id)))?;
    let headers = forwarded_headers(&response)?;
    if let (true, Some(tail)) = (headers.has(UP_TO_DATE)?, headers.get(NEXT_OFFSET)?)
        && tip_cache::observe_tail(ctx.store, &read.from, Offset(tail))
    {
        sequencer_client::notify(ctx).await;
    }
    if let Some(known) = known {
        reply::identify(&headers, &known.tip)?;
    }
    // SSE ends with its token. (A long-poll is a single answer to a request whose token was valid.)
    let is_sse = read.live == Some(Live::Sse) && response.status_code() == 200;
    match read.token_end_ms.filter(|_| is_sse) {
        Some(end_ms) => Ok(lifetime::ending_at(response, end_ms)?.with_headers(headers)),
        None => unless_known(response, headers, read.if_none_match.as_deref()),
    }
}

/// The Sequencer's tip of a stream that it did not know before the read. `None` if the Sequencer can't tell: then the answer
/// carries no backend id.
async fn fresh_tip(ctx: &StoreContext<'_>) -> Result<Option<KnownTip>, Failure> {
    match sequencer_client::call(ctx, Op::Look(Need::Fresh)).await {
        Ok(Answer::Tip(tip)) => Ok(tip.map(KnownTip::from)),
        Ok(_) | Err(Failure::Problem(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn fetch(stream: &Stream, read: &UpstreamRead) -> Result<Response, Failure> {
    // Sorted by name, as the protocol recommends for caches (§10.1).
    let cursor = read.cursor.as_ref().map(|c| format!("cursor={c}&")).unwrap_or_default();
    let live = match read.live {
        None => "",
        Some(Live::LongPoll) => "live=long-poll&",
        Some(Live::Sse) => "live=sse&",
    };
    // Servers compare a single tag only.
    let tag = read.if_none_match.as_deref().and_then(single_tag);
    let if_none_match = tag.map(|tag| ("if-none-match", tag));
    let request = StreamRequest {
        query: &format!("?{cursor}{live}offset={}", read.from.0),
        headers: if_none_match.as_slice(),
        extra_time: if read.live == Some(Live::LongPoll) { LONG_POLL } else { Duration::ZERO },
        ..StreamRequest::new(Method::Get)
    };
    stream.send(request).await.map_err(|NoAnswer| Problem::unavailable().into())
}

/// Checks that the upstream's answer is one to this read. Any other answer becomes a problem. Only a page of the log says
/// where it ends (protocol §5.6, §5.7); server-sent events say so in their control events (§5.8).
fn check(response: Response, read: &UpstreamRead) -> Result<Response, Problem> {
    let status = response.status_code();
    let content_type = response.headers().get("content-type").ok().flatten().unwrap_or_default();
    let has_end = response.headers().has(NEXT_OFFSET).unwrap_or(false);
    let is_page = status == 200 && content_type.starts_with("application/json") && has_end;
    let is_answer = match read.live {
        None => is_page,
        Some(Live::LongPoll) => is_page || (status == 204 && has_end),
        Some(Live::Sse) => status == 200 && content_type.starts_with("text/event-stream"),
    };
    if is_answer || (status == 304 && read.if_none_match.is_some()) {
        return Ok(response);
    }
    discard(&response);
    Err(match status {
        // The answer is the server's own, but the stream is no log of events.
        200 if has_end => Problem::upstream_refused(status),
        400 => Problem::unknown_offset(),
        ..400 | 404 | 500.. => Problem::unavailable(),
        410 if read.from.0 == Offset::START => Problem::trimmed(),
        410 => Problem::gone(),
        429 => Problem::rate_limited(retry_after(&response)),
        _ => Problem::upstream_refused(status),
    })
}

/// The headers of the upstream's answer that the reader receives.
pub(super) fn forwarded_headers(response: &Response) -> Result<Headers, Failure> {
    let headers = Headers::new();
    for name in FORWARDED_HEADERS {
        if let Some(value) = response.headers().get(name)? {
            headers.set(name, &value)?;
        }
    }
    // An answer that ends at the tail is not final.
    headers.set("cache-control", "no-store")?;
    Ok(headers)
}
