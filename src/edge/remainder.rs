//! A read from an [`Interior`] position whose page is not cached. The Worker reads the run from its begin, and skips what
//! lies before the position.

use futures::stream;
use headwater_core::problem::Problem;
use headwater_core::route::Live;
use headwater_core::segments::assemble::SegmentMismatch;
use headwater_core::segments::pages::{Interior, Remainder};
use headwater_core::sequencer::{Answer, Refusal, UpstreamResult};
use worker::{Response, console_error};

use super::{read, reply};
use crate::failure::Failure;
use crate::upstream::{Body, NoAnswer, Stream};

/// The log after a position, up to the end of the upstream's own page. The bytes pass through, and are never held as a
/// whole. `None` if the upstream has no stream.
pub(super) async fn after(
    position: Interior,
    live: Option<Live>,
    stream: &Stream,
) -> Result<Option<Response>, Failure> {
    if live.is_some() {
        let detail = "This offset lies inside a run that is read in pages. Catch up from it without live, and begin the live read at the end.";
        return Err(Problem::bad_request("offset", detail).into());
    }
    let mut reader = match stream.open(&position.run).await {
        Err(UpstreamResult::Missing) => return Ok(None),
        opened => opened.map_err(refused)?,
    };
    let mut remainder = Remainder::new(position);
    loop {
        while let Some(chunk) =
            reader.body.next_chunk().await.map_err(|NoAnswer| Problem::unavailable())?
        {
            let bytes = remainder.feed(chunk).map_err(|mismatch| unknown(&mismatch))?;
            if remainder.is_reached() {
                let page = &reader.page.response;
                return rest_of_page(page, bytes, reader.body, remainder).map(Some);
            }
        }
        remainder.next_page().map_err(|mismatch| unknown(&mismatch))?;
        if !stream.next_page(&mut reader).await.map_err(refused)? {
            return Err(Problem::unknown_offset().into());
        }
    }
}

/// The upstream has no page of the run.
fn refused(result: UpstreamResult) -> Problem {
    match result {
        UpstreamResult::Refused(Refusal { status: 400, .. }) => Problem::unknown_offset(),
        UpstreamResult::Refused(refusal) => {
            Answer::Refused(refusal).problem().unwrap_or_else(Problem::unavailable)
        }
        UpstreamResult::Gone => Problem::gone(),
        _ => Problem::unavailable(),
    }
}

/// The log holds something else at the position.
fn unknown(mismatch: &SegmentMismatch) -> Problem {
    console_error!("the log no longer matches an offset inside a run: {mismatch}");
    Problem::unknown_offset()
}

/// Passes the rest of a page on, after its first bytes.
fn rest_of_page(
    page: &Response,
    first: Vec<u8>,
    body: Body,
    remainder: Remainder,
) -> Result<Response, Failure> {
    let rest =
        stream::try_unfold((first, Some((body, remainder))), |(mut bytes, mut rest)| async move {
            let broken = || worker::Error::from("the log could not be read to its end");
            // A message that is longer than a chunk takes more than one turn.
            while bytes.is_empty() {
                let Some((body, remainder)) = &mut rest else { return Ok(None) };
                if let Some(chunk) = body.next_chunk().await.map_err(|NoAnswer| broken())? {
                    bytes = remainder.feed(chunk).map_err(|_| broken())?;
                } else {
                    bytes = remainder.finish().map_err(|_| broken())?.to_vec();
                    rest = None;
                }
            }
            Ok(Some((bytes, (Vec::new(), rest))))
        });
    let response = reply::streamed(Box::pin(rest))?;
    let headers = read::forwarded_headers(page)?;
    // The ETag names the upstream's whole page, and this is less.
    headers.delete("etag")?;
    Ok(response.with_headers(headers))
}
