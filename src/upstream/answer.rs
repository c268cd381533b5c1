//! The head of an upstream answer: status and headers.

use headwater_core::event::Offset;
use headwater_core::sequencer::{Refusal, Tail, UpstreamResult};
use worker::{Response, ResponseBody};

use super::{CLOSED, NEXT_OFFSET};

pub(crate) const JSON: &str = "application/json";

/// The status, if it is one that this operation expects. Otherwise discards the answer, and says what its status means.
pub(super) fn expect(response: &Response, expected: &[u16]) -> Result<u16, UpstreamResult> {
    let status = response.status_code();
    if expected.contains(&status) {
        return Ok(status);
    }
    discard(response);
    Err(match status {
        404 => UpstreamResult::Missing,
        410 => UpstreamResult::Gone,
        // The server may have done the operation nevertheless, or may yet do it. Or the answer is foreign.
        ..400 | 408 | 500.. => UpstreamResult::Failed,
        _ => UpstreamResult::Refused(Refusal { status, retry_after: retry_after(response) }),
    })
}

pub(super) fn next_offset(response: &Response) -> Option<Offset> {
    response.headers().get(NEXT_OFFSET).ok().flatten().map(Offset)
}

pub(super) fn tail(response: &Response) -> Option<Tail> {
    Some(Tail { offset: next_offset(response)?, closed: is_closed(response) })
}

/// Whether the stream is closed, as far as this answer tells (protocol §4.1).
pub(super) fn is_closed(response: &Response) -> bool {
    let closed = response.headers().get(CLOSED).ok().flatten();
    closed.is_some_and(|closed| closed.eq_ignore_ascii_case("true"))
}

pub(super) fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get("content-type").ok().flatten().unwrap_or_default();
    headwater_core::headers::is_json(&content_type)
}

/// `Retry-After` in seconds. `None` if it is a date, or missing.
pub(crate) fn retry_after(response: &Response) -> Option<u32> {
    response.headers().get("retry-after").ok().flatten()?.parse().ok()
}

/// Cancels a body that nobody will read, because the runtime allows a request only few open connections.
pub(crate) fn discard(response: &Response) {
    if let ResponseBody::Stream(stream) = response.body() {
        let _ = stream.cancel();
    }
}
