//! A segment for one reader, passed on while it arrives. Nothing is cached, and the segment is never held as a whole.

use futures::stream;
use headwater_core::event::Offset;
use headwater_core::problem::Problem;
use headwater_core::segments::assemble::Passage;
use headwater_core::segments::plan::Plan;

use super::{CachedPage, FillError, FillOutcome, SegmentCache, next_page};
use crate::edge::reply;
use crate::failure::Failure;
use crate::upstream::{LogReader, Stream};

/// The first segment of a plan. The read ends with the segment, or when the reader leaves.
pub(super) async fn pass_segment(
    cache: SegmentCache,
    stream: Stream,
    plan: Plan,
) -> Result<Option<CachedPage>, Failure> {
    let (from, end) = (plan.from.clone(), plan.segments[0].end.clone());
    let reader = match stream.open(&from).await {
        Ok(reader) => reader,
        Err(result) => {
            return match cache.failed(&from, result.into()) {
                FillOutcome::Mismatch => Ok(None),
                _ => Err(Problem::unavailable().into()),
            };
        }
    };
    let passage = Passage::new(plan, cache.backend_id(), cache.implicit_id());
    let etag = cache.etag(&from, &end);
    let passing = PassingSegment { cache, stream, from, reader, passage };
    let bytes = stream::try_unfold(passing, |mut passing| async move {
        match passing.next_bytes().await {
            Ok(bytes) => Ok(bytes.map(|bytes| (bytes, passing))),
            // The reader sees the answer break off, and asks again.
            Err(error) => {
                passing.cache.failed(&passing.from, error);
                Err(worker::Error::from("the segment could not be read to its end"))
            }
        }
    });
    let response = reply::segment(reply::streamed(Box::pin(bytes))?, &end, &etag)?;
    Ok(Some(CachedPage { response, x_cache: "BYPASS" }))
}

struct PassingSegment {
    cache: SegmentCache,
    stream: Stream,
    from: Offset,
    reader: LogReader,
    passage: Passage,
}

impl PassingSegment {
    /// The next bytes of the segment. `None` at its end.
    async fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, FillError> {
        while !self.passage.is_done() {
            if let Some(chunk) = self.reader.body.next_chunk().await? {
                let bytes = self.passage.feed(chunk)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
                continue;
            }
            self.passage.next_page()?;
            next_page(&self.stream, &mut self.reader).await?;
        }
        Ok(None)
    }
}
