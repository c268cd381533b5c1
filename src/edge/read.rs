//! `GET`: sealed history comes from the edge cache, the unsealed tail and live reads from the upstream.
//!
//! The Worker calls the Sequencer at most for look-ups. The upstream's answers pass through the runtime, and their bytes
//! don't enter the Wasm module's memory.

use std::time::Duration;

use futures::future::join;
use headwater_core::event::{Offset, Position, SeqNum};
use headwater_core::headers::{is_json, names_tag};
use headwater_core::names::encode;
use headwater_core::problem::Problem;
use headwater_core::route::{Live, Read};
use headwater_core::segments::pages::{self, Interior};
use headwater_core::sequencer::call::Located;
use headwater_core::sequencer::copy::LogName;
use headwater_core::sequencer::{Answer, Need, Op};
use headwater_core::timing::Timing;
use worker::{Headers, Method, Response};

use super::context::StoreContext;
use super::segment_cache::{self, CachedPage, SegmentCache};
use super::sequencer_client::Told;
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
    let position = match &read.from {
        Position::Offset(offset) => Position::Offset(pages::begin_of(offset)),
        after @ Position::After(_) => after.clone(),
    };
    let mut told = match &position {
        // Only the Sequencer knows the place.
        Position::After(_) => sequencer_client::told_now(ctx, &position).await?,
        Position::Offset(_) => sequencer_client::tip(ctx, &position).await?,
    };
    ctx.check_incarnation(told.tip.as_ref().map(|known| &known.tip))?;
    let from = match read.from {
        Position::Offset(offset) => offset,
        Position::After(seq) => {
            let place = match told.located {
                Some(place) => place,
                None => sequencer_client::locate(ctx, position).await?,
            };
            let offset = offset_after(seq, &place)?;
            // Any other answer says nothing about the place that the read begins at.
            told.located = matches!(place, Located::Found { .. }).then_some(place);
            offset
        }
    };
    timing.lap("sequencer", now_ms());
    let in_pages = read.live.is_none() && !read.whole;
    if let Some(known) = told.tip.as_ref().filter(|known| in_pages && known.is_sealed_at(&from)) {
        let cache = SegmentCache::open(ctx.host, ctx.store, known.incarnation()).await;
        let page = segment_cache::read(ctx, cache, &from, told.located.take()).await;
        timing.lap("history", now_ms());
        if let Some(page) = page? {
            return sealed(ctx, page, known, if_none_match.as_deref()).await;
        }
    }
    if let Some(interior) = Interior::parse(&from) {
        let begin = Position::Offset(interior.run.clone());
        let told = sequencer_client::told_now(ctx, &begin).await?;
        if let Some(problem) = told.doubt() {
            return Err(problem.into());
        }
        let known = told.tip;
        ctx.check_incarnation(known.as_ref().map(|known| &known.tip))?;
        let Some(response) = remainder::after(interior, read.live, &ctx.stream()?).await? else {
            return match sequencer_client::call(ctx, Op::Look(Need::Fresh)).await? {
                Answer::Tip(None) => {
                    ctx.check_incarnation(None)?;
                    Ok(reply::empty_page()?)
                }
                _ => Err(Problem::unknown_offset().into()),
            };
        };
        if let Some(known) = known {
            ctx.identify(response.headers(), &known.tip)?;
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
    pass_through(ctx, read, told.tip, timing).await
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
///
/// The store's own URL names the next incarnation after a reset. Therefore a client's cache asks again there.
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
            if let (true, Some(etag)) = (log.tail.closed, headers.get("etag")?) {
                headers.set(CLOSED, "true")?;
                // The tag must change when the stream is closed (protocol §10.1).
                headers.set("etag", &format!("{}:c\"", etag.trim_end_matches('"')))?;
            }
        }
        // The browser's own cache may keep the segment, but only for this token.
        None if ctx.incarnation.is_some() => {
            headers.set("cache-control", "private, max-age=31536000, immutable")?;
        }
        None => headers.set("cache-control", "private, no-cache")?,
    }
    headers.set("vary", ctx.settings.auth.header())?;
    headers.set(reply::CACHE, x_cache)?;
    ctx.identify(&headers, &known.tip)?;
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
    let stream = ctx.stream().ok()?;
    let log = within(TAIL_TIMEOUT, Box::pin(stream.metadata())).await.ok()?.ok()?;
    (log.tail.offset == end).then_some(log)
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
    known: Option<KnownTip>,
    timing: &mut Timing,
) -> Result<Response, Failure> {
    let Some((response, told)) = answer_of_log(ctx, &read, known).await? else {
        ctx.check_incarnation(None)?;
        return Ok(reply::empty_page()?);
    };
    timing.lap("upstream", now_ms());
    if response.status_code() == 400 {
        // The log may not know an offset of its own index.
        tip_cache::invalidate(ctx.store);
    }
    let response = check(response, &read)
        .map_err(|problem| problem.of(told.tip.as_ref().map(|known| &known.tip.backend_id)))?;
    let headers = forwarded_headers(&response)?;
    if let (true, Some(tail)) = (headers.has(UP_TO_DATE)?, headers.get(NEXT_OFFSET)?)
        && tip_cache::observe_tail(ctx.store, &read.from, Offset(tail))
    {
        sequencer_client::notify(ctx).await;
    }
    if let Some(known) = told.tip {
        ctx.identify(&headers, &known.tip)?;
        // Equal offsets make equal tags, whatever log they are of.
        if let Some(etag) = headers.get("etag")? {
            let (etag, id) = (etag.trim_matches('"'), encode(&known.tip.backend_id.0));
            headers.set("etag", &format!("\"{etag}~{id}\""))?;
        }
    } else {
        headers.delete("etag")?;
        if let Some(problem) = told.halted.as_ref().and_then(Answer::problem) {
            reply::explain(&headers, &problem)?;
        }
    }
    // A long-poll is a single answer to a request whose token was valid.
    if read.live == Some(Live::Sse) && response.status_code() == 200 {
        headers.set("cache-control", "no-cache")?; // protocol §5.8
        return Ok(lifetime::ending_at(response, read.token_end_ms)?.with_headers(headers));
    }
    unless_known(response, headers, read.if_none_match.as_deref())
}

/// How often a read begins again, because the store was reset or created meanwhile.
const MAX_ROUNDS: usize = 4;

/// The upstream's answer, and what the Sequencer tells of the log that gave it: no tip if nobody vouches for that log
/// as the store's. `None` if the store has no stream.
///
/// The upstream does not say whose log it reads from, and an isolate may remember a log that was reset meanwhile.
/// Therefore the Sequencer tells the incarnation while the upstream answers. If it is not the one from `before` the
/// request, the read begins again.
async fn answer_of_log(
    ctx: &StoreContext<'_>,
    read: &UpstreamRead,
    mut before: Option<KnownTip>,
) -> Result<Option<(Response, Told)>, Failure> {
    for _ in 0..MAX_ROUNDS {
        let (response, told) = fetch_and_ask(ctx, read).await?;
        let Some(response) = response else {
            before = told.tip;
            continue;
        };
        let status = response.status_code();
        if status == 404 {
            discard(&response);
            // The Sequencer may not know yet that the stream is gone, or that it never existed.
            let creates = read.live.is_some() && ctx.incarnation.is_none();
            let op = if creates { Op::Ensure } else { Op::Look(Need::Fresh) };
            match sequencer_client::call(ctx, op).await? {
                Answer::Tip(Some(tip)) => before = Some(tip.into()),
                _ => return Ok(None),
            }
        } else if told.doubt().is_some() {
            return Ok(Some((response, Told { tip: None, ..told })));
        } else if told.tip.is_none() && status < 300 {
            // The Sequencer did not know of the stream before.
            match fresh(ctx).await {
                Ok(told) if told.tip.is_none() && ctx.incarnation.is_none() => {
                    return Ok(Some((response, told)));
                }
                told => {
                    discard(&response);
                    before = told?.tip;
                    ctx.check_incarnation(before.as_ref().map(|known| &known.tip))?;
                }
            }
        } else if is_same(before.as_ref(), told.tip.as_ref())
            && (reaches(&response, told.tip.as_ref())
                || is_same(told.tip.as_ref(), tell(ctx, read).await?.tip.as_ref()))
        {
            return Ok(Some((response, told)));
        } else {
            discard(&response);
            before = told.tip;
        }
    }
    Err(Problem::unavailable().into())
}

/// The upstream's answer, and what the Sequencer tells at the same time. No answer counts if the log is at another
/// address than the isolate thought. A long-poll may take a minute. Its place is checked before it begins, and its tip
/// is the one at its end.
async fn fetch_and_ask(
    ctx: &StoreContext<'_>,
    read: &UpstreamRead,
) -> Result<(Option<Response>, Told), Failure> {
    let mut address = ctx.address();
    let (response, told) = if read.live == Some(Live::LongPoll) {
        let begin = tell(ctx, read).await?;
        address = ctx.address();
        let stream = ctx.stream()?;
        check_place(ctx, &stream, &read.from, &begin).await?;
        let response = fetch(&stream, read).await;
        let end = tell(ctx, read).await;
        (response, if begin.doubt().is_some() { Ok(begin) } else { end })
    } else {
        let stream = ctx.stream()?;
        let (response, told) = join(fetch(&stream, read), Box::pin(tell(ctx, read))).await;
        let told = match told {
            Ok(told) if ctx.address() == address => {
                check_place(ctx, &stream, &read.from, &told).await.map(|()| told)
            }
            told => told,
        };
        (response, told)
    };
    let has_moved = ctx.address() != address;
    match (response, told) {
        (Ok(response), Ok(told)) if !has_moved => Ok((Some(response), told)),
        (response, told) => {
            if let Ok(response) = &response {
                discard(response);
            }
            let told = told?;
            if has_moved {
                Ok((None, told))
            } else {
                response.map(|response| (Some(response), told))
            }
        }
    }
}

async fn tell(ctx: &StoreContext<'_>, read: &UpstreamRead) -> Result<Told, Failure> {
    sequencer_client::told_now(ctx, &Position::Offset(read.from.clone())).await
}

fn is_same(one: Option<&KnownTip>, other: Option<&KnownTip>) -> bool {
    one.map(|known| &known.tip.backend_id) == other.map(|known| &known.tip.backend_id)
}

/// Whether an answer up to the tail reaches the tip that the Sequencer told. If it does not, an append landed between
/// the two answers, or the answer is of the next log.
fn reaches(response: &Response, tip: Option<&KnownTip>) -> bool {
    let header = |name| response.headers().get(name).ok().flatten();
    match (header(UP_TO_DATE), header(NEXT_OFFSET), tip) {
        (Some(_), Some(end), Some(known)) => end >= known.tip.offset.0,
        _ => true,
    }
}

/// Refuses a read of another incarnation than the store's, or of one whose log the upstream does not have, and a read
/// from an offset that lies inside a message.
async fn check_place(
    ctx: &StoreContext<'_>,
    stream: &Stream,
    from: &Offset,
    told: &Told,
) -> Result<(), Failure> {
    let tip = told.tip.as_ref().map(|known| &known.tip);
    ctx.check_incarnation(tip)?;
    let doubt = told.doubt();
    if let (Some(_), Some(problem)) = (ctx.incarnation, &doubt) {
        return Err(problem.clone().into());
    }
    let is_recorded = match &told.located {
        Some(Located::Found { incarnation, .. }) if doubt.is_none() => {
            tip.is_some_and(|tip| tip.backend_id == incarnation.backend_id)
        }
        _ => false,
    };
    let is_known = is_recorded || matches!(from.0.as_str(), Offset::START | "now");
    let is_good = is_known
        || if tip.is_some_and(|tip| LogName::of(tip).copy.is_some()) {
            is_recorded_now(ctx, from).await?
        } else {
            stream.has_boundary(from).await?
        };
    if is_good {
        return Ok(());
    }
    Err(Problem::foreign_offset().of(tip.map(|tip| &tip.backend_id)).into())
}

/// Whether the index has the offset after a look at the log, which finds what direct writers have appended. An offset
/// of another place of the log may mean something else at this one.
async fn is_recorded_now(ctx: &StoreContext<'_>, offset: &Offset) -> Result<bool, Failure> {
    sequencer_client::call(ctx, Op::Look(Need::Fresh)).await?;
    let located = sequencer_client::locate(ctx, Position::Offset(offset.clone())).await?;
    Ok(matches!(located, Located::Found { .. }))
}

/// What the Sequencer tells of a stream that it did not know before the read. Without a tip if it can't tell: then the
/// answer carries no backend id.
async fn fresh(ctx: &StoreContext<'_>) -> Result<Told, Failure> {
    let told = |tip, halted| Ok(Told { tip, located: None, halted });
    match sequencer_client::answer(ctx, Op::Look(Need::Fresh)).await {
        Ok(Answer::Tip(tip)) => told(tip.map(KnownTip::from), None),
        Ok(halted @ Answer::Halted(..)) => told(None, Some(halted)),
        Ok(_) | Err(Failure::Problem(_)) => told(None, None),
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
    let request = StreamRequest {
        query: &format!("?{cursor}{live}offset={}", read.from.0),
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
    let is_page = status == 200 && is_json(&content_type) && has_end;
    let is_answer = match read.live {
        None => is_page,
        Some(Live::LongPoll) => is_page || (status == 204 && has_end),
        Some(Live::Sse) => status == 200 && content_type.starts_with("text/event-stream"),
    };
    if is_answer {
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
