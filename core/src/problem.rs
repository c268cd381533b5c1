//! Problems: each refusal as `application/problem+json` (RFC 9457). If LiveStore has an error of the same meaning, the
//! problem has its `_tag` and fields (`packages/@livestore/common/src/sync/errors.ts`).

use std::fmt::Display;

use serde_json::{Map, Value, json};

use crate::event::{BackendId, Offset, SeqNum};

/// A refusal, ready to become a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of the problem, which is the last part of `type`.
    pub kind: &'static str,
    /// LiveStore's name for the error, or Headwater's where LiveStore has none.
    pub tag: &'static str,
    /// What failed and what to do, in words.
    pub detail: String,
    /// Members beside the standard ones.
    pub fields: Map<String, Value>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// Name and value of one more header: `Allow` of a 405, or `WWW-Authenticate` of a 401, and of a 403 that another token
    /// would open (RFC 6750 §3).
    pub header: Option<Box<(&'static str, String)>>,
    /// `Livestore-Backend-Id`, if it is known.
    pub backend_id: Option<Box<BackendId>>,
    /// The end of a closed stream, which takes nothing more: `Stream-Closed` and `Stream-Next-Offset` (protocol §5.2).
    pub closed_at: Option<Box<Offset>>,
}

impl Problem {
    /// A problem with the standard members only.
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
            closed_at: None,
        }
    }

    /// The same problem with one more member.
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

    /// The same problem with a `Retry-After` in seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same problem with the backend id of the store.
    pub fn of(mut self, backend_id: Option<&BackendId>) -> Self {
        self.backend_id = backend_id.cloned().map(Box::new);
        self
    }

    /// The kind and, if there is one, the member `reason`: `unauthorized; reason=missing`.
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

    /// The pushed body is not a batch, or is a batch that can't follow the head.
    pub(crate) fn invalid_push(status: u16, detail: impl Display) -> Self {
        Self::new(status, "invalid-push", "InvalidPushError", detail)
    }

    /// A part of the request is wrong.
    pub fn bad_request(field: &str, detail: impl Display) -> Self {
        Self::new(400, "bad-request", "BadRequestError", detail).with("field", field)
    }

    /// A header of the request can't be honored. The status is 409 if it asks for a stream that the store is not
    /// (protocol §5.1), 501 if it asks for a function that Headwater does not have, else 400. `why` also says what to do.
    #[inline(never)]
    pub fn unmet_header(status: u16, name: &str, why: &str) -> Self {
        let detail = format!("The header {name} can't be honored: {why}");
        let problem = match status {
            409 => Self::new(409, "config-mismatch", "ConfigMismatchError", detail),
            501 => Self::new(501, "not-implemented", "NotImplementedError", detail),
            _ => return Self::bad_request(name, detail),
        };
        problem.with("field", name)
    }

    /// No such route.
    pub fn not_found() -> Self {
        let detail = "No such route. A store's route is /v1/stream/{tenant}/{store}, with both names percent-encoded.";
        Self::new(404, "not-found", "NotFoundError", detail)
    }

    /// The store has no stream.
    pub fn no_stream() -> Self {
        let detail = "This store has no stream. A push or PUT creates one.";
        Self::new(404, "no-stream", "StreamNotFoundError", detail)
    }

    /// The route does not take this method.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("This route does not take that method. It takes {allow}.");
        Self::new(405, "method-not-allowed", "MethodNotAllowedError", detail)
            .with_header("allow", allow)
    }

    /// The body is larger than a batch may be.
    pub fn too_large(max: usize) -> Self {
        let detail = format!("The body is larger than {max} bytes. Send fewer or smaller events.");
        Self::new(413, "too-large", "PayloadTooLargeError", detail).with("maxBytes", max)
    }

    /// An event is larger than an event may be.
    pub fn event_too_large(index: usize, bytes: usize, max: usize) -> Self {
        let detail =
            format!("Event {index} takes {bytes} bytes, but an event may take at most {max}.");
        Self::new(413, "too-large", "PayloadTooLargeError", detail)
            .with("index", index)
            .with("maxBytes", max)
    }

    /// The body did not arrive in time.
    pub fn too_slow(seconds: f64) -> Self {
        let detail = format!(
            "The body did not arrive within {seconds} s. Nothing was appended: send the same push again."
        );
        Self::new(408, "too-slow", "RequestTimeoutError", detail)
    }

    /// The body is compressed.
    pub fn unsupported_media_type(encoding: &str) -> Self {
        let detail =
            format!("The body has the Content-Encoding {encoding:?}. Send the batch uncompressed.");
        Self::new(415, "unsupported-media-type", "UnsupportedMediaTypeError", detail)
    }

    /// The request opens a socket, but does not ask for the upgrade (RFC 6455 §4.2.1).
    pub fn upgrade_required() -> Self {
        let detail =
            "live=websocket requires a WebSocket: a request with the header `Upgrade: websocket`.";
        Self::new(426, "upgrade-required", "UpgradeRequiredError", detail)
            .with_header("upgrade", "websocket")
    }

    /// The store has too many sockets.
    pub fn too_many_sockets() -> Self {
        let detail =
            "This store has too many open sockets. Read it by server-sent events (live=sse).";
        Self::new(503, "overloaded", "OverloadedError", detail)
            .with("reason", "sockets")
            .retry_after(30)
    }

    /// The request has no token.
    pub fn no_token(header: &str) -> Self {
        let expected =
            if header == "authorization" { "authorization: Bearer <token>" } else { header };
        Self::unauthorized(
            "missing",
            format!("A bearer token is required, in the header `{expected}`."),
        )
        .challenging("Bearer")
    }

    /// The token is not valid. `reason` is a word for programs.
    pub fn unauthorized(reason: &'static str, detail: impl Display) -> Self {
        let problem =
            Self::new(401, "unauthorized", "UnauthorizedError", detail).with("reason", reason);
        problem.challenging(r#"Bearer error="invalid_token""#)
    }

    /// The token is valid, but does not permit the request. `reason` is a word for programs.
    pub fn not_permitted(reason: &'static str, detail: impl Display) -> Self {
        Self::forbidden(detail).with("reason", reason)
    }

    /// The token lacks a scope.
    pub fn needs_scope(scope: &'static str) -> Self {
        let problem = Self::not_permitted(
            "scope",
            format!("This request requires a token with the scope `{scope}`."),
        );
        problem
            .with("scope", scope)
            .challenging(&format!(r#"Bearer error="insufficient_scope", scope="{scope}""#))
    }

    /// The Worker can't check the token now.
    pub fn keys_unavailable(retry_after: u32) -> Self {
        let detail = "The keys of the token's issuer are not available now. Nothing is lost: send the same request again.";
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

    /// An internal error. The Worker's log has the details.
    pub fn internal() -> Self {
        Self::new(500, "internal", "InternalError", "An internal error occurred. Try again.")
    }

    /// The upstream no longer keeps the offset (protocol §5.6).
    pub fn gone() -> Self {
        Self::new(
            410,
            "gone",
            "OffsetGoneError",
            "The log's server no longer keeps this offset. Read from the start (offset=-1).",
        )
    }

    /// The offset is not one of this log.
    pub fn foreign_offset() -> Self {
        let detail = "This offset does not belong to the store's current log. Read from the start (offset=-1).";
        Self::new(410, "gone", "OffsetGoneError", detail)
    }

    /// The incarnation of the address has ended: the store was reset.
    pub fn incarnation_gone() -> Self {
        let detail = "This incarnation has ended: the store was reset, or its log was moved. Read the store's own URL.";
        Self::new(410, "incarnation-gone", "IncarnationGoneError", detail)
    }

    /// The upstream no longer keeps the beginning of the log (protocol §4, retention).
    pub fn trimmed() -> Self {
        let detail = "The log's server no longer keeps the beginning of this log. Nothing can be read from the start.";
        Self::new(410, "history-trimmed", "HistoryTrimmedError", detail)
    }

    /// The upstream has no log to adopt.
    pub fn nothing_to_adopt() -> Self {
        let detail = "The log's server has no stream for this store, so there is nothing to adopt. PUT creates one.";
        Self::new(409, "nothing-to-adopt", "NothingToAdoptError", detail)
    }

    /// The log ends before the event of `after`.
    pub fn beyond(after: SeqNum, head: SeqNum) -> Self {
        let detail = format!("This store has no event {after}: it ends at event {head}.");
        Self::bad_request("after", detail).with("head", head)
    }

    /// The upstream limits the rate.
    pub fn rate_limited(retry_after: Option<u32>) -> Self {
        Self::new(
            429,
            "rate-limited",
            "RateLimitedError",
            "The log's server limits the rate of requests. Send the same request again later.",
        )
        .retry_after(retry_after.unwrap_or(1))
    }

    /// The tenant exceeds the deployment's rate limit. `retry_after` is in seconds.
    pub fn tenant_rate_limited(retry_after: u32) -> Self {
        let detail = "This tenant sends too many requests. Nothing is lost: send the same request again later.";
        Self::new(429, "rate-limited", "RateLimitedError", detail).retry_after(retry_after)
    }

    /// The upstream does not know the offset.
    pub fn unknown_offset() -> Self {
        Self::bad_request(
            "offset",
            "The log's server does not know this offset. Use an offset from an earlier answer, or read from the start (offset=-1).",
        )
    }

    /// The store, or the isolate, has too many pushes under way. `reason` is `arriving` if the Worker refused the push
    /// before it read the body, and `waiting` if the Sequencer refused it.
    pub fn overloaded(reason: &'static str) -> Self {
        let detail = format!(
            "Too many pushes are {reason}. Nothing was appended: send the same push again."
        );
        Self::new(503, "overloaded", "OverloadedError", detail)
            .with("reason", reason)
            .retry_after(1)
    }

    /// The upstream failed, or did not answer in time.
    pub fn unavailable() -> Self {
        let detail =
            "The log's server is not available now. Nothing is lost: send the same request again.";
        Self::new(503, "upstream-unavailable", "UnavailableError", detail).retry_after(1)
    }

    /// The upstream refused, with a status that has no meaning here.
    pub fn upstream_refused(status: u16) -> Self {
        let detail = format!("The log's server refused the request with status {status}.");
        Self::new(502, "upstream-refused", "UpstreamError", detail)
            .with("upstreamStatus", status)
            .retry_after(5)
    }
}

/// The status in the words of RFC 9110. The `http` crate has older words for 413 and 422, and clients see this text.
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
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    }
}
