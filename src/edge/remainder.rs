//! A read from an [`Interior`] position of which no page is kept: its run is read from the begin, and what lies before the
//! position is passed over.

use futures::stream;
use headwater_core::problem::Problem;
use headwater_core::route::Live;
use headwater_core::segments::assemble::SegmentMismatch;
use headwater_core::segments::pages::{Interior, Remainder};
use headwater_core::sequencer::{Answer, Refusal, UpstreamResult};
use worker::{Response, console_error};

use super::context::Failure;
use super::{read, reply};
use crate::upstream::{Body, NoAnswer, Stream};

/// All that follows the position, up to where the upstream's own page ends. It passes through, and is never held as a whole.
pub async fn after(
    position: Interior,
    live: Option<Live>,
    stream: &Stream,
) -> Result<Response, Failure> {
    if live.is_some() {
        let detail = "This offset lies inside of a run that is read in pages. Catch up from it, and follow from the end.";
        return Err(Problem::bad_request("offset", detail).into());
    }
    let mut opened = stream.open(&position.run).await.map_err(refused)?;
    let mut remainder = Remainder::new(position);
    loop {
        while let Some(chunk) =
            opened.body.chunk().await.map_err(|NoAnswer| Problem::unavailable())?
        {
            let bytes = remainder.feed(chunk).map_err(|misfit| unknown(&misfit))?;
            if remainder.is_reached() {
                return passed_on(&opened.page.response, bytes, opened.body, remainder);
            }
        }
        remainder.next_page().map_err(|misfit| unknown(&misfit))?;
        if !stream.turn(&mut opened).await.map_err(refused)? {
            return Err(Problem::unknown_offset().into());
        }
    }
}

/// The upstream has no page of the run.
fn refused(reply: UpstreamResult) -> Problem {
    match reply {
        UpstreamResult::Refused(Refusal { status: 400, .. }) => Problem::unknown_offset(),
        UpstreamResult::Refused(refusal) => {
            Answer::Refused(refusal).problem().unwrap_or_else(Problem::unavailable)
        }
        UpstreamResult::Gone => Problem::gone(),
        _ => Problem::unavailable(),
    }
}

/// The log holds something else there.
fn unknown(misfit: &SegmentMismatch) -> Problem {
    console_error!("nothing is known of an offset: {misfit}");
    Problem::unknown_offset()
}

/// What is left of a page, of which these bytes come first.
fn passed_on(
    page: &Response,
    first: Vec<u8>,
    body: Body,
    remainder: Remainder,
) -> Result<Response, Failure> {
    let left =
        stream::try_unfold((first, Some((body, remainder))), |(mut bytes, mut left)| async move {
            let broken = || worker::Error::from("the log could not be read to its end");
            // Mostly once: a message may take more than one chunk.
            while bytes.is_empty() {
                let Some((body, remainder)) = &mut left else { return Ok(None) };
                if let Some(chunk) = body.chunk().await.map_err(|NoAnswer| broken())? {
                    bytes = remainder.feed(chunk).map_err(|_| broken())?;
                } else {
                    bytes = remainder.finish().map_err(|_| broken())?.to_vec();
                    left = None;
                }
            }
            Ok(Some((bytes, (Vec::new(), left))))
        });
    let response = reply::streamed(Box::pin(left))?;
    let headers = read::passed_on(page)?;
    // It names what the upstream's page holds, and this is less.
    headers.delete("etag")?;
    Ok(response.with_headers(headers))
}
