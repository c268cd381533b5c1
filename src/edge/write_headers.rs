//! The headers of a request that writes. The core decides what each of them means.

use headwater_core::headers;
use headwater_core::route::Verb;
use worker::Request;

use crate::failure::Failure;

/// How long a body may be that is an empty array.
const MAX_EMPTY_ARRAY: u64 = 16;

/// Refuses a write that asks for what no store can honor. Returns whether the write asks for a closed stream.
pub(super) async fn check(request: &mut Request, verb: &Verb) -> Result<bool, Failure> {
    if !matches!(verb, Verb::Push | Verb::Create | Verb::Reset | Verb::Delete | Verb::Adopt) {
        return Ok(false);
    }
    let mut sent = Vec::new();
    for name in headers::names() {
        if let Some(value) = request.headers().get(name)? {
            sent.push((name, value));
        }
    }
    let length =
        request.headers().get("content-length")?.and_then(|length| length.parse::<u64>().ok());
    let has_body = match length {
        // A PUT of `[]` means a stream without messages (protocol §9.1.3).
        Some(1..=MAX_EMPTY_ARRAY) if *verb == Verb::Create => {
            request.bytes().await?.trim_ascii() != b"[]"
        }
        Some(length) => length > 0,
        None => request.inner().body().is_some(),
    };
    Ok(headers::check(verb, &sent, has_body)?)
}
