//! A fill: one read of the log, cut into segments or pages for the edge cache.

use std::time::Duration;

use futures::channel::oneshot;
use headwater_core::budget::BudgetLimits;
use headwater_core::event::Offset;
use headwater_core::segments::assemble::{Sealed, SegmentMismatch, Segments};
use headwater_core::segments::pages::Pages;
use headwater_core::segments::plan::Plan;
use worker::Response;

use super::claims::{Avoid, FillClaims};
use super::{FillError, FillOutcome, SegmentCache, next_page};
use crate::edge::reply;
use crate::lease::{FILLS, Lease};
use crate::upstream::Stream;

/// How much the fills of an isolate may hold. Each has a segment in memory, or two.
const LIMITS: BudgetLimits = BudgetLimits { own_leases: 4, leases: 16, bytes: 16 << 20 };

/// How long a lease lasts without progress. The runtime ends a fill 30 s after the answer, without returning its lease.
const LEASE_DURATION: Duration = Duration::from_mins(1);

/// The size of a page of a run, for the budget.
const RUN_PAGE_BYTES: u64 = 2 << 20;

/// The memory for a fill of this plan. `None` if too many fills are under way.
pub(super) fn lease(cache: &SegmentCache, plan: &Plan) -> Option<Lease> {
    // A page of a run is about as long as a segment.
    let longest = plan.segments.iter().map(|segment| segment.bytes).max().unwrap_or(RUN_PAGE_BYTES);
    Lease::take(&FILLS, cache.store().as_str(), longest, LEASE_DURATION, LIMITS)
}

/// A fill that is to run, or runs.
pub(super) struct Fill {
    pub(super) cache: SegmentCache,
    pub(super) stream: Stream,
    /// Where the first piece begins, which the reader waits for.
    pub(super) from: Offset,
    /// Where the read of the log begins.
    pub(super) begin: Offset,
    pub(super) pieces: Pieces,
    pub(super) claims: FillClaims,
    pub(super) lease: Lease,
}

impl Fill {
    /// Runs to the end. The reader receives the first piece, or why there is none.
    pub(super) async fn run(mut self, to_reader: oneshot::Sender<FillOutcome>) {
        let mut to_reader = Some(to_reader);
        if let Err(error) = self.read(&mut to_reader).await {
            let outcome = self.cache.failed(&self.from, error);
            if let Some(to_reader) = to_reader {
                let _ = to_reader.send(outcome);
            }
        }
    }

    /// Reads the log until all pieces are cut, or up to a piece that is cached already.
    async fn read(
        &mut self,
        to_reader: &mut Option<oneshot::Sender<FillOutcome>>,
    ) -> Result<(), FillError> {
        let mut reader = self.stream.open(&self.begin).await?;
        while !self.pieces.is_done() {
            let Some(chunk) = reader.body.next_chunk().await? else {
                self.pieces.next_page()?;
                next_page(&self.stream, &mut reader).await?;
                continue;
            };
            for piece in self.pieces.feed(chunk)? {
                if !self.keep(piece, to_reader).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Caches one piece; the reader receives the first one before that. True if the fill should go on.
    async fn keep(
        &mut self,
        piece: Sealed,
        to_reader: &mut Option<oneshot::Sender<FillOutcome>>,
    ) -> Result<bool, FillError> {
        let Self { cache, claims, lease, .. } = self;
        let Sealed { from, end, body } = piece;
        let mut response =
            reply::segment(Response::from_bytes(body)?, &end, &cache.etag(&from, &end))?;
        let is_first = to_reader.is_some();
        if let Some(to_reader) = to_reader.take() {
            let _ = to_reader.send(FillOutcome::Piece(response.cloned()?));
        }
        if let Pieces::Pages(_) = self.pieces {
            // The end of a page, where the next one begins, is known only now.
            claims.extend([cache.key(&end)]);
        }
        let put = cache.put(&from, response).await;
        claims.release(&cache.key(&from));
        lease.renew(LEASE_DURATION);
        if put.is_err() || (is_first && !cache.holds(&from).await) {
            // The cache keeps nothing. To read on would be in vain.
            Avoid::Cache.set(cache.key(&from));
            return Ok(false);
        }
        Ok(!(is_first && cache.holds(&end).await))
    }
}

/// The pieces into which a fill cuts the log.
pub(super) enum Pieces {
    Segments(Segments),
    Pages(Pages),
}

impl Pieces {
    fn is_done(&self) -> bool {
        match self {
            Self::Segments(segments) => segments.is_done(),
            Self::Pages(pages) => pages.is_done(),
        }
    }

    fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        match self {
            Self::Segments(segments) => segments.next_page(),
            Self::Pages(pages) => pages.next_page(),
        }
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, SegmentMismatch> {
        match self {
            Self::Segments(segments) => segments.feed(chunk),
            Self::Pages(pages) => pages.feed(chunk),
        }
    }
}
