//! Sealed history, served from the edge cache. A reader that misses a segment starts a fill.
//!
//! A fill reads the log once and caches the following segments as well. The upstream sends everything up to the tail
//! anyway: one read for each segment would make it send the rest of the log again and again. A fill belongs to no client,
//! and goes on when the reader that started it leaves.
//!
//! A reader may meet no cache, a cache that keeps nothing, or too many fills. Then it gets the same segment from a read of
//! its own (`passing`).

mod cache;
mod claims;
mod fill;
mod passing;

use futures::channel::oneshot;
use headwater_core::event::{Offset, Position};
use headwater_core::problem::Problem;
use headwater_core::segments::assemble::{SegmentMismatch, Segments};
use headwater_core::segments::pages::{self, Interior, Pages};
use headwater_core::segments::plan::Plan;
use headwater_core::sequencer::call::Located;
use headwater_core::sequencer::{Refusal, UpstreamResult};
use worker::Response;

use self::claims::{Avoid, FillClaims};
use self::fill::{Fill, Pieces};
use super::context::StoreContext;
use super::{sequencer_client, tip_cache};
use crate::failure::Failure;
use crate::upstream::{LogReader, NoAnswer, Stream};

pub(super) use self::cache::SegmentCache;

/// A segment, or a page of a run, for a reader.
pub(super) struct CachedPage {
    /// Body, `Stream-Next-Offset` and `ETag`.
    pub(super) response: Response,
    /// Where the page is from: the value of `X-Cache`.
    pub(super) x_cache: &'static str,
}

/// The segment or page that begins at an offset. `None` if there is none, and the reader must read the log itself.
///
/// `located` is the place of the offset in the index, if the Sequencer has already told it.
pub(super) async fn read(
    ctx: &StoreContext<'_>,
    cache: SegmentCache,
    from: &Offset,
    located: Option<Located>,
) -> Result<Option<CachedPage>, Failure> {
    let begin = pages::begin_of(from);
    // Pages of a run are read from its begin. Therefore a failure there holds for all of them.
    let avoided = || Avoid::at(&cache.key(from)).or_else(|| Avoid::at(&cache.key(&begin)));
    let found = match avoided() {
        Some(_) => cache.find(from).await,
        None => cache.find_or_await(from).await,
    };
    if let Some(response) = found {
        return Ok(Some(CachedPage { response, x_cache: "HIT" }));
    }
    // The fill that this request waited for may have failed.
    let avoided = avoided();
    if avoided == Some(Avoid::Index) {
        return Ok(None);
    }
    // Claimed before the call to the Sequencer: other requests arrive meanwhile.
    let claims = avoided.is_none().then(|| FillClaims::on(cache.key(from)));
    let Some(plan) = plan(ctx, &cache, &begin, located).await? else { return Ok(None) };
    let interior = Interior::parse(from);
    let is_segment = interior.is_none() && !plan.segments.is_empty();
    let claims = claims.and_then(|claims| Some((claims, fill::lease(&cache, &plan)?)));
    let Some((mut claims, lease)) = claims else {
        return match is_segment {
            true => passing::pass_segment(cache, ctx.stream()?, plan).await,
            false => Ok(None),
        };
    };
    let (id, implicit_id) = (cache.backend_id(), cache.implicit_id());
    let pieces = if is_segment {
        claims.extend(begins_after_first(&plan).map(|begin| cache.key(begin)));
        Pieces::Segments(Segments::new(plan, id, implicit_id))
    } else {
        let size = ctx.settings.segment;
        let Some(pages) = Pages::new(plan, interior, size, id, implicit_id) else {
            return Ok(None);
        };
        Pieces::Pages(pages)
    };
    let (to_reader, first_piece) = oneshot::channel();
    let fill =
        Fill { cache, stream: ctx.stream()?, from: from.clone(), begin, pieces, claims, lease };
    ctx.runtime.wait_until(fill.run(to_reader));
    match first_piece.await {
        Ok(FillOutcome::Piece(response)) => Ok(Some(CachedPage { response, x_cache: "MISS" })),
        Ok(FillOutcome::Mismatch) => Ok(None),
        Ok(FillOutcome::NoAnswer) | Err(_) => {
            // The log may have moved away from a server that is gone.
            tip_cache::forget_address(ctx.store);
            Err(Problem::unavailable().into())
        }
    }
}

/// Which of the segments that begin at these offsets are in this location's edge cache.
pub(super) async fn cached(cache: &SegmentCache, begins: &[Offset]) -> Vec<bool> {
    let mut cached = Vec::new();
    for from in begins {
        cached.push(cache.holds(from).await);
    }
    cached
}

/// The plan of the segments from `begin` on. `None` if the index does not know the offset, or knows another incarnation.
async fn plan(
    ctx: &StoreContext<'_>,
    cache: &SegmentCache,
    begin: &Offset,
    located: Option<Located>,
) -> Result<Option<Plan>, Failure> {
    let located = match located {
        Some(located) => located,
        None => sequencer_client::locate(ctx, Position::Offset(begin.clone())).await?,
    };
    Ok(match located {
        Located::Found { plan, incarnation } if incarnation == *cache.incarnation() => Some(plan),
        Located::Found { .. } => {
            tip_cache::forget(ctx.store);
            None
        }
        _ => None,
    })
}

/// Each segment begins where the one before it ends.
fn begins_after_first(plan: &Plan) -> impl Iterator<Item = &Offset> {
    plan.segments.iter().skip(1).zip(&plan.segments).map(|(_, before)| &before.end)
}

/// Moves a read to its next page, because a planned segment goes on there.
async fn next_page(stream: &Stream, reader: &mut LogReader) -> Result<(), FillError> {
    match stream.next_page(reader).await? {
        true => Ok(()),
        false => Err(FillError::Mismatch("the log is shorter than its index".into())),
    }
}

/// The answer of a fill to the reader that started it.
enum FillOutcome {
    Piece(Response),
    NoAnswer,
    /// The log does not fit its index, or the upstream refused. The reader must see the upstream's own answer.
    Mismatch,
}

/// Why a segment could not be read.
enum FillError {
    NoAnswer,
    Mismatch(String),
    Runtime(worker::Error),
}

impl From<NoAnswer> for FillError {
    fn from(NoAnswer: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

impl From<worker::Error> for FillError {
    fn from(error: worker::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<SegmentMismatch> for FillError {
    fn from(mismatch: SegmentMismatch) -> Self {
        Self::Mismatch(mismatch.to_string())
    }
}

impl From<UpstreamResult> for FillError {
    fn from(result: UpstreamResult) -> Self {
        match result {
            UpstreamResult::Failed => Self::NoAnswer,
            UpstreamResult::Refused(Refusal { status, .. }) => {
                Self::Mismatch(format!("the upstream refused with {status}"))
            }
            UpstreamResult::Missing | UpstreamResult::Gone => {
                Self::Mismatch("the upstream does not have the segment".into())
            }
            _ => Self::Mismatch("the upstream's answer is not JSON".into()),
        }
    }
}
