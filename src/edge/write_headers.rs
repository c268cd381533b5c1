//! The headers of a request that writes. The core decides what each of them means.

use std::time::Duration;

use headwater_core::headers;
use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use worker::Request;

use crate::failure::Failure;
use crate::isolate::{TimedOut, within};
use crate::upstream::CLOSED;

/// How long a body may be that is an empty array.
const MAX_EMPTY_ARRAY: u64 = 16;

/// The operation. A `POST` that only closes the stream is no push (protocol §5.3).
pub(super) fn verb(request: &Request, verb: Verb) -> Result<Verb, Failure> {
    let closed = request.headers().get(CLOSED)?.unwrap_or_default();
    let only_closes =
        verb == Verb::Push && closed.eq_ignore_ascii_case("true") && !has_body(request)?;
    Ok(if only_closes { Verb::Close } else { verb })
}

/// Refuses a write that asks for what no store can honor. Returns whether the write asks for a closed stream. `timeout` bounds the wait
/// for a short body.
pub(super) async fn check(
    request: &mut Request,
    verb: &Verb,
    timeout: Duration,
) -> Result<bool, Failure> {
    let verb = match verb {
        Verb::Close => &Verb::Push,
        Verb::Push | Verb::Create | Verb::Reset | Verb::Delete | Verb::Adopt => verb,
        _ => return Ok(false),
    };
    let mut sent = Vec::new();
    for name in headers::names() {
        if let Some(value) = request.headers().get(name)? {
            sent.push((name, value));
        }
    }
    let has_body = match length(request)? {
        // A PUT of `[]` means a stream without messages (protocol §9.1.3).
        Some(1..=MAX_EMPTY_ARRAY) if *verb == Verb::Create => {
            match within(timeout, Box::pin(request.bytes())).await {
                Ok(body) => body?.trim_ascii() != b"[]",
                Err(TimedOut) => return Err(Problem::too_slow(timeout.as_secs_f64()).into()),
            }
        }
        _ => has_body(request)?,
    };
    Ok(headers::check(verb, &sent, has_body)?)
}

fn length(request: &Request) -> Result<Option<u64>, Failure> {
    Ok(request.headers().get("content-length")?.and_then(|length| length.parse().ok()))
}

fn has_body(request: &Request) -> Result<bool, Failure> {
    Ok(match length(request)? {
        Some(length) => length > 0,
        None => request.inner().body().is_some(),
    })
}
