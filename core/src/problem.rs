//! Every refusal as `application/problem+json` (RFC 9457), with LiveStore's `_tag` and its fields
//! where LiveStore has an error of that meaning (`packages/@livestore/common/src/sync/errors.ts`).

use std::fmt::Display;

use serde_json::{Map, Value, json};

use crate::event::{BackendId, SeqNum};

/// One refusal, ready to become a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The last part of `type`: what kind of problem this is.
    pub kind: &'static str,
    /// LiveStore's name for the error, or Headwater's where LiveStore has none.
    pub tag: &'static str,
    /// What happened and what to do, for a person.
    pub detail: String,
    /// Members beside the standard ones.
    pub fields: Map<String, Value>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// Name and value of one header more: `Allow` of a 405, or `WWW-Authenticate` of a 401 and of a 403 that another
    /// token would open (RFC 6750 §3).
    pub header: Option<Box<(&'static str, String)>>,
    /// `Livestore-Backend-Id`, where it is known.
    pub backend_id: Option<Box<BackendId>>,
}

impl Problem {
    /// A problem with no more than its standard members.
    pub(crate) fn new(
        status: u16,
        kind: &'static str,
        tag: &'static str,
        detail: impl Display,
    ) -> Self {
        Self {
            status,
            kind,
            tag,
            detail: detail.to_string(),
            fields: Map::new(),
            retry_after: None,
            header: None,
            backend_id: None,
        }
    }

    /// The same problem with one member more.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }

    fn challenging(self, challenge: &str) -> Self {
        self.with_header("www-authenticate", challenge)
    }

    fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.header = Some(Box::new((name, value.into())));
        self
    }

    /// The same problem, to be tried again after so many seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same problem, met with this backend.
    pub fn of(mut self, backend_id: Option<&BackendId>) -> Self {
        self.backend_id = backend_id.cloned().map(Box::new);
        self
    }

    /// The last part of `type` and, behind it, the member `reason`, if there is one: `unauthorized; reason=missing`.
    pub fn kind_and_reason(&self) -> String {
        match self.fields.get("reason").and_then(Value::as_str) {
            Some(reason) => format!("{}; reason={reason}", self.kind),
            None => self.kind.to_string(),
        }
    }

    /// The response body.
    pub fn to_json(&self) -> Value {
        let mut body = self.fields.clone();
        body.insert("type".into(), json!(format!("urn:headwater:problem:{}", self.kind)));
        body.insert("title".into(), json!(title(self.status)));
        body.insert("status".into(), json!(self.status));
        body.insert("detail".into(), json!(self.detail));
        body.insert("_tag".into(), json!(self.tag));
        Value::Object(body)
    }

    /// What was pushed is no batch, or none that can follow the head.
    pub(crate) fn invalid_push(status: u16, detail: impl Display) -> Self {
        Self::new(status, "invalid-push", "InvalidPushError", detail)
    }

    /// A part of the request is wrong.
    pub fn bad_request(field: &str, detail: impl Display) -> Self {
        Self::new(400, "bad-request", "BadRequestError", detail).with("field", field)
    }

    /// No such route.
    pub fn not_found() -> Self {
        let detail = "There is nothing here. A store is at /v1/stream/{tenant}/{store}, both percent-encoded.";
        Self::new(404, "not-found", "NotFoundError", detail)
    }

    /// The route does not know the method.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("This address answers {allow}.");
        Self::new(405, "method-not-allowed", "MethodNotAllowedError", detail)
            .with_header("allow", allow)
    }

    /// The body is larger than a batch may be.
    pub fn too_large(max: usize) -> Self {
        let detail = format!("A batch may take {max} bytes; send fewer or smaller events.");
        Self::new(413, "too-large", "PayloadTooLargeError", detail).with("maxBytes", max)
    }

    /// An event is larger than one may be.
    pub fn event_too_large(index: usize, bytes: usize, max: usize) -> Self {
        let detail = format!("Event {index} takes {bytes} bytes; one event may take {max}.");
        Self::new(413, "too-large", "PayloadTooLargeError", detail)
            .with("index", index)
            .with("maxBytes", max)
    }

    /// The body did not arrive in time.
    pub fn too_slow(seconds: f64) -> Self {
        let detail = format!(
            "The body did not arrive within {seconds} s. Nothing was appended: send the same again."
        );
        Self::new(408, "too-slow", "RequestTimeoutError", detail)
    }

    /// The body is of another type.
    pub fn unsupported_media_type(found: &str) -> Self {
        let detail =
            format!("A batch is sent as application/json, uncompressed, not as {found:?}.");
        Self::new(415, "unsupported-media-type", "UnsupportedMediaTypeError", detail)
    }

    /// There is no token where one is wanted.
    pub fn no_token(header: &str) -> Self {
        let how = if header == "authorization" { "authorization: Bearer <token>" } else { header };
        Self::unauthorized("missing", format!("A token is wanted, in the header `{how}`."))
            .challenging("Bearer")
    }

    /// The token is not one that is believed. `reason` is a word for programs.
    pub fn unauthorized(reason: &'static str, detail: impl Display) -> Self {
        let problem =
            Self::new(401, "unauthorized", "UnauthorizedError", detail).with("reason", reason);
        problem.challenging(r#"Bearer error="invalid_token""#)
    }

    /// The token is believed, but is for something else. `reason` is a word for programs.
    pub fn not_permitted(reason: &'static str, detail: impl Display) -> Self {
        Self::forbidden(detail).with("reason", reason)
    }

    /// The token lacks a scope.
    pub fn needs_scope(scope: &'static str) -> Self {
        let problem =
            Self::not_permitted("scope", format!("This needs a token with the scope `{scope}`."));
        problem
            .with("scope", scope)
            .challenging(&format!(r#"Bearer error="insufficient_scope", scope="{scope}""#))
    }

    /// Whether the token is right can't be told now.
    pub fn keys_unavailable(retry_after: u32) -> Self {
        let detail = "The keys of the token's issuer can't be had now. Nothing is lost: send the same again.";
        Self::new(503, "keys-unavailable", "UnavailableError", detail).retry_after(retry_after)
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Display) -> Self {
        Self::new(403, "forbidden", "ForbiddenError", detail)
    }

    /// A setting of the deployment is missing or wrong.
    pub fn misconfigured(setting: &str, detail: impl Display) -> Self {
        Self::new(500, "misconfigured", "MisconfiguredError", format!("{setting} {detail}"))
            .with("setting", setting)
    }

    /// Something went wrong inside; the log has the details.
    pub fn internal() -> Self {
        Self::new(500, "internal", "InternalError", "Something went wrong here. Try again.")
    }

    /// The position is no longer kept by the upstream (protocol §5.6).
    pub fn gone() -> Self {
        Self::new(
            410,
            "gone",
            "OffsetGoneError",
            "This offset is no longer kept. Read from the start (offset=-1).",
        )
    }

    /// The beginning of the log is no longer kept by the upstream (protocol §4, retention).
    pub fn trimmed() -> Self {
        let detail = "The log's server no longer keeps the beginning of this log. Nothing can be read from the start.";
        Self::new(410, "history-trimmed", "HistoryTrimmedError", detail)
    }

    /// There is no log that could be adopted.
    pub fn nothing_to_adopt() -> Self {
        let detail = "The log's server has no stream for this store, so there is nothing to adopt. PUT creates one.";
        Self::new(409, "nothing-to-adopt", "NothingToAdoptError", detail)
    }

    /// The log ends before the event that a read wants to go on from.
    pub fn beyond(after: SeqNum, head: SeqNum) -> Self {
        let detail =
            format!("There is no event {after} in this store, which ends at event {head}.");
        Self::bad_request("after", detail).with("head", head)
    }

    /// The upstream asked to slow down.
    pub fn rate_limited(retry_after: Option<u32>) -> Self {
        Self::new(429, "rate-limited", "RateLimitedError", "Too many requests. Try again later.")
            .retry_after(retry_after.unwrap_or(1))
    }

    /// A tenant sends more than the deployment lets it. `retry_after` is in seconds.
    pub fn tenant_rate_limited(retry_after: u32) -> Self {
        let detail =
            "Too many requests of this tenant. Nothing is lost: send the same again, later.";
        Self::new(429, "rate-limited", "RateLimitedError", detail).retry_after(retry_after)
    }

    /// An offset that the log does not have.
    pub fn unknown_offset() -> Self {
        Self::bad_request("offset", "The log's server does not know this offset.")
    }

    /// More is under way than may be for the store, or for all in the isolate. `arriving`: refused by the Worker, before it
    /// read the push; `waiting`: by the Sequencer.
    pub fn overloaded(how: &'static str) -> Self {
        let detail =
            format!("Too many pushes are {how}. Nothing was appended: send the same again.");
        Self::new(503, "overloaded", "OverloadedError", detail).with("reason", how).retry_after(1)
    }

    /// The upstream could not be reached in time, or failed.
    pub fn unavailable() -> Self {
        let detail = "The log can't be reached now. Nothing is lost: send the same again.";
        Self::new(503, "upstream-unavailable", "UnavailableError", detail).retry_after(1)
    }

    /// The upstream answered with something that Headwater has no use for.
    pub fn upstream_refused(status: u16) -> Self {
        let detail = format!("The log's server refused this with status {status}.");
        Self::new(502, "upstream-refused", "UpstreamError", detail)
            .with("upstreamStatus", status)
            .retry_after(5)
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
