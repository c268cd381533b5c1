//! Sends one request to the upstream.

use std::time::Duration;

use headwater_core::sequencer::call::CALL_HEADER;
use worker::js_sys::Uint8Array;
use worker::{
    AbortController, CacheMode, Fetch, Headers, Method, Request, RequestInit, RequestRedirect,
    Response,
};

use super::{Address, SEQUENCER_URL, Stream};
use crate::isolate::{TimedOut, within};

/// The upstream gave no answer: it refused or broke the connection, or took too long.
#[derive(Debug)]
pub(crate) struct NoAnswer;

impl From<TimedOut> for NoAnswer {
    fn from(TimedOut: TimedOut) -> Self {
        Self
    }
}

/// A request to a stream.
pub(crate) struct StreamRequest<'r> {
    pub(crate) method: Method,
    pub(crate) query: &'r str,
    pub(crate) headers: &'r [(&'r str, &'r str)],
    pub(crate) body: Option<&'r [u8]>,
    /// How much longer than `UPSTREAM_TIMEOUT_MS` the head of the answer may take.
    pub(crate) extra_time: Duration,
}

impl StreamRequest<'_> {
    /// A request without query, headers and body.
    pub(crate) fn new(method: Method) -> Self {
        Self { method, query: "", headers: &[], body: None, extra_time: Duration::ZERO }
    }
}

impl Stream {
    /// Sends a request, and waits for the head of the answer.
    pub(crate) async fn send(&self, request: StreamRequest<'_>) -> Result<Response, NoAnswer> {
        let timeout = self.settings.timeout + request.extra_time;
        let (sequencer, url, headers) = match &self.address {
            Address::Url(url) => (None, url.as_str(), request.headers.to_vec()),
            Address::Sequencer(stub, call) => {
                let mut headers = request.headers.to_vec();
                headers.push((CALL_HEADER, call));
                (Some(stub), SEQUENCER_URL, headers)
            }
        };
        let request = StreamRequest { headers: &headers, ..request };
        let request = self.prepared(url, request).map_err(|_| NoAnswer)?;
        if let Some(sequencer) = sequencer {
            let answer = within(timeout, Box::pin(sequencer.fetch_with_request(request))).await?;
            return answer.map_err(|_| NoAnswer);
        }
        let abort = AbortController::default();
        let signal = abort.signal();
        let fetch = Fetch::Request(request);
        match within(timeout, Box::pin(fetch.send_with_signal(&signal))).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(NoAnswer),
            Err(TimedOut) => {
                abort.abort();
                Err(NoAnswer)
            }
        }
    }

    fn prepared(&self, url: &str, request: StreamRequest<'_>) -> worker::Result<Request> {
        let headers = Headers::new();
        for (name, value) in request.headers {
            headers.set(name, value)?;
        }
        if let Some(token) = &self.settings.token {
            headers.set("authorization", &format!("Bearer {token}"))?;
        }
        let mut init = RequestInit::new();
        init.with_method(request.method)
            .with_headers(headers)
            // The token must not follow a redirect to another host.
            .with_redirect(RequestRedirect::Manual)
            // The runtime would cache by file extension, and a store may have the name `notes.js`.
            .with_cache(CacheMode::NoStore)
            .with_body(request.body.map(|bytes| Uint8Array::from(bytes).into()));
        Request::new_with_init(&format!("{url}{}", request.query), &init)
    }
}
