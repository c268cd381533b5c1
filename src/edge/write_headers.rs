//! The headers of a request that writes. The core decides what each of them means.

use std::time::Duration;

use headwater_core::headers;
use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use worker::Request;

use super::body::collect;
use crate::failure::Failure;
use crate::isolate::{TimedOut, within};

/// How long a body may be that is an empty array.
const MAX_EMPTY_ARRAY: usize = 64;

/// What a write asks for.
pub(super) struct Asked {
    /// A `POST` that only closes the stream is no push (protocol §5.3).
    pub(super) verb: Verb,
    sent: Vec<(&'static str, String)>,
    has_body: bool,
}

impl Asked {
    /// Reads the headers, and a body that may be empty. `timeout` bounds the wait for it.
    pub(super) async fn read(
        request: &mut Request,
        verb: Verb,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let is_write =
            matches!(verb, Verb::Push | Verb::Create | Verb::Reset | Verb::Delete | Verb::Adopt);
        let mut sent = Vec::new();
        if is_write {
            for name in headers::names() {
                if let Some(value) = request.headers().get(name)? {
                    sent.push((name, value));
                }
            }
        }
        let closes = verb == Verb::Push && headers::closes(&sent);
        let has_body = if closes || verb == Verb::Create {
            match within(timeout, Box::pin(has_body(request, &verb))).await {
                Ok(has_body) => has_body?,
                Err(TimedOut) => return Err(Problem::too_slow(timeout.as_secs_f64()).into()),
            }
        } else {
            verb == Verb::Push
        };
        let verb = if closes && !has_body { Verb::Close } else { verb };
        Ok(Self { verb, sent, has_body })
    }

    /// Refuses what no store can honor. Returns whether the write asks for a closed stream.
    pub(super) fn check(&self) -> Result<bool, Problem> {
        let verb = if self.verb == Verb::Close { &Verb::Push } else { &self.verb };
        headers::check(verb, &self.sent, self.has_body)
    }
}

/// Whether the request has a body. An empty array in a `PUT` means a stream without messages (protocol §9.1.3).
async fn has_body(request: &mut Request, verb: &Verb) -> Result<bool, Failure> {
    let length = request.headers().get("content-length")?.and_then(|text| text.parse().ok());
    if length == Some(0) || request.inner().body().is_none() {
        return Ok(false);
    }
    if length.is_some_and(|length: usize| length > MAX_EMPTY_ARRAY) {
        return Ok(true);
    }
    let body = collect(request.stream()?, MAX_EMPTY_ARRAY).await?;
    Ok(body.is_none_or(|body| {
        let is_empty_array =
            *verb == Verb::Create && serde_json::from_slice::<[(); 0]>(&body).is_ok();
        !body.is_empty() && !is_empty_array
    }))
}
