//! The Worker's responses: their headers of identity, caching, CORS, security and timing.

use futures::stream::LocalBoxStream;
use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Offset, ROOT};
use headwater_core::headers;
use headwater_core::problem::Problem;
use headwater_core::route::incarnation_url;
use headwater_core::sequencer::Tip;
use headwater_core::sequencer::copy::LogName;
use worker::{Headers, Request, Response, Result};

use crate::settings::Origins;
use crate::upstream::{CLOSED, JSON, Metadata, NEXT_OFFSET, UP_TO_DATE};

/// The backend id. On a request, the one that the client believes.
pub(super) const BACKEND_ID: &str = "livestore-backend-id";
/// The head.
pub(super) const HEAD: &str = "livestore-head";
/// The accepted events of a push: `<first>-<last>`, their sequence numbers. A client believes no acknowledgement without
/// this header, because a foreign answer may be a 200 too.
pub(super) const ACCEPTED: &str = "livestore-accepted";
/// The kind of problem ([`Problem::kind_and_reason`]). An answer to `HEAD` has no body that could say it.
pub(super) const PROBLEM: &str = "livestore-problem";
/// Whether a read was answered from the edge cache.
pub(super) const CACHE: &str = "x-cache";

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// Headers of reads. Those of writes are in the core's table: a page must see why one of them is refused.
const READ_HEADERS: &str = "accept, cache-control, last-event-id, pragma";
/// Headers that tracing libraries add to every request of a page: W3C, Sentry, Zipkin (B3), Datadog, New Relic,
/// Elastic, Jaeger, AWS X-Ray, Google Cloud, Azure and Honeycomb. A single header that the preflight does not allow
/// fails the request.
const TRACING_HEADERS: &str = "traceparent, tracestate, baggage, sentry-trace, b3, x-b3-traceid, x-b3-spanid, \
                               x-b3-parentspanid, x-b3-sampled, x-b3-flags, x-datadog-trace-id, x-datadog-parent-id, \
                               x-datadog-origin, x-datadog-sampling-priority, x-datadog-tags, newrelic, \
                               elastic-apm-traceparent, uber-trace-id, x-amzn-trace-id, x-cloud-trace-context, \
                               request-id, request-context, x-request-id, x-correlation-id, x-honeycomb-trace";
const EXPOSED: &str = "allow, content-location, etag, livestore-accepted, livestore-backend-id, livestore-head, \
                       livestore-problem, location, producer-epoch, producer-expected-seq, producer-received-seq, producer-seq, \
                       retry-after, server-timing, stream-closed, stream-cursor, stream-expires-at, stream-next-offset, \
                       stream-sse-data-encoding, stream-ttl, stream-up-to-date, www-authenticate, x-cache";

/// The state of the Worker in one word, for `/health` and `/ready`.
pub(super) fn status(word: &str) -> Result<Response> {
    let response = Response::from_json(&serde_json::json!({ "status": word }))?;
    response.headers().set("cache-control", "no-store")?;
    Ok(response)
}

/// The answer to a browser's `OPTIONS`. `allowed_headers` is `ALLOWED_HEADERS`.
pub(super) fn preflight(token_header: &str, allowed_headers: &[String]) -> Result<Response> {
    let response = Response::empty()?.with_status(204);
    response.headers().set("access-control-allow-methods", METHODS)?;
    let mut headers = vec![token_header, READ_HEADERS, TRACING_HEADERS];
    for name in headers::names() {
        headers.push(name);
    }
    headers.extend(allowed_headers.iter().map(String::as_str));
    response.headers().set("access-control-allow-headers", &headers.join(", "))?;
    response.headers().set("access-control-max-age", "86400")?;
    Ok(response)
}

/// A response with the tip in its headers, and without a body.
pub(super) fn tip(status: u16, tip: &Tip) -> Result<Response> {
    let response = Response::empty()?.with_status(status);
    response.headers().set(NEXT_OFFSET, &tip.offset.0)?;
    if tip.closed {
        response.headers().set(CLOSED, "true")?;
    }
    response.headers().set("cache-control", "no-store")?;
    identify(response.headers(), tip)?;
    Ok(response)
}

/// The tip with what describes a stream, for `HEAD` and `PUT` (protocol §5.1, §5.5).
pub(super) fn described(status: u16, tip: &Tip) -> Result<Response> {
    let response = self::tip(status, tip)?;
    response.headers().set("content-type", JSON)?;
    Ok(response)
}

/// The answer to `PUT`. `url` is the request's.
pub(super) fn created(url: &str, tip: &Tip) -> Result<Response> {
    let response = described(if tip.created { 201 } else { 200 }, tip)?;
    if let Some(location) = address(url, tip) {
        response.headers().set("location", &location)?;
    }
    Ok(response)
}

/// The address of the log that ends at this tip. `url` is the store's own URL, or its path.
pub(super) fn address(url: &str, tip: &Tip) -> Option<String> {
    incarnation_url(url, &BackendId(LogName::of(tip).to_string()))
}

/// What the upstream has, for a store whose tip the Sequencer does not vouch for, and why not. Therefore the answer has no
/// headers of identity.
pub(super) fn unvouched(log: &Metadata, problem: Option<&Problem>) -> Result<Response> {
    let response = Response::empty()?;
    let headers = response.headers();
    headers.set(NEXT_OFFSET, &log.tail.offset.0)?;
    headers.set("cache-control", "no-store")?;
    headers.set("content-type", JSON)?;
    if log.tail.closed {
        headers.set(CLOSED, "true")?;
    }
    if let Some(problem) = problem {
        explain(headers, problem)?;
    }
    Ok(response)
}

/// The acknowledgement of a push.
pub(super) fn accepted(batch: &Batch, tip: &Tip) -> Result<Response> {
    let response = self::tip(200, tip)?;
    response.headers().set(ACCEPTED, &format!("{}-{}", batch.first, batch.last))?;
    Ok(response)
}

/// The answer to `HEAD` for a store that has no stream yet.
pub(super) fn no_stream() -> Result<Response> {
    let response = Response::empty()?;
    let headers = response.headers();
    headers.set("content-type", JSON)?;
    set_no_stream(headers)?;
    Ok(response)
}

/// The answer to a catch-up read of a store that has no stream yet: no events. Only the start is an offset from which
/// nothing will be missed, whichever offset the reader asked for.
pub(super) fn empty_page() -> Result<Response> {
    let response = Response::from_json(&[(); 0])?;
    set_no_stream(response.headers())?;
    response.headers().set(UP_TO_DATE, "true")?;
    Ok(response)
}

fn set_no_stream(headers: &Headers) -> Result<()> {
    headers.set(NEXT_OFFSET, Offset::START)?;
    headers.set(HEAD, &ROOT.to_string())?;
    headers.set("cache-control", "no-store")
}

/// An answer whose body is made while it is sent. All callers share one instance of this code: it is large.
pub(super) fn streamed(bytes: LocalBoxStream<'static, Result<Vec<u8>>>) -> Result<Response> {
    Response::from_stream(bytes)
}

/// A segment, as the edge cache keeps it.
pub(super) fn segment(response: Response, end: &Offset, etag: &str) -> Result<Response> {
    let headers = response.headers();
    headers.set("content-type", "application/json")?;
    headers.set("etag", &format!("\"{etag}\""))?;
    headers.set(NEXT_OFFSET, &end.0)?;
    headers.set("cache-control", "public, max-age=31536000, immutable")?;
    Ok(response)
}

/// A refusal.
pub(super) fn problem(problem: &Problem) -> Result<Response> {
    let response = Response::from_json(&problem.to_json())?.with_status(problem.status);
    let headers = response.headers();
    headers.set("content-type", "application/problem+json")?;
    headers.set("cache-control", "no-store")?;
    explain(headers, problem)?;
    if let Some(backend_id) = &problem.backend_id {
        headers.set(BACKEND_ID, &backend_id.0)?;
    }
    if let Some((name, value)) = problem.header.as_deref() {
        headers.set(name, value)?;
    }
    if let Some(offset) = &problem.closed_at {
        headers.set(CLOSED, "true")?;
        headers.set(NEXT_OFFSET, &offset.0)?;
    }
    Ok(response)
}

/// Names a problem beside another answer.
pub(super) fn explain(headers: &Headers, problem: &Problem) -> Result<()> {
    headers.set(PROBLEM, &problem.kind_and_reason())?;
    match problem.retry_after {
        Some(seconds) => headers.set("retry-after", &seconds.to_string()),
        None => Ok(()),
    }
}

/// Sets the headers of identity: the backend id and the head.
pub(super) fn identify(headers: &Headers, tip: &Tip) -> Result<()> {
    headers.set(BACKEND_ID, &tip.backend_id.0)?;
    headers.set(HEAD, &tip.head.to_string())
}

/// Sets the headers that every response carries.
pub(super) fn finish(
    response: Response,
    request: &Request,
    allowed_origins: &Origins,
    timing: &str,
) -> Result<Response> {
    let headers = response.headers();
    headers.set("server-timing", timing)?;
    // Protocol §12.7.
    headers.set("x-content-type-options", "nosniff")?;
    headers.set("cross-origin-resource-policy", "cross-origin")?;
    headers.set("access-control-expose-headers", EXPOSED)?;
    if request.inner().method() == "GET" && !headers.has(CACHE)? {
        headers.set(CACHE, "BYPASS")?;
    }
    match allowed_origins {
        Origins::Any => headers.set("access-control-allow-origin", "*")?,
        Origins::Listed(_) => {
            headers.append("vary", "origin")?;
            if let Some(origin) =
                request.headers().get("origin")?.filter(|origin| allowed_origins.name(origin))
            {
                headers.set("access-control-allow-origin", &origin)?;
            }
        }
    }
    Ok(response)
}
