//! Requests to the Durable Streams server that keeps the log: one function a protocol operation, no
//! decisions. Nothing here retries; who calls knows whether it may.

use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::StreamExt;
use worker::{
    AbortController, CacheMode, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Response,
    ResponseBody, js_sys::Uint8Array,
};

use crate::event::{BackendId, Offset, SeqNum, fence};
use crate::messages::MessageSplitter;
use crate::sequencer::core::Reply;
use crate::sequencer::scan::{Probe, Scan, header_message};
use crate::settings::UpstreamSettings;

/// The tail after an operation (protocol §5).
pub const NEXT_OFFSET: &str = "stream-next-offset";
/// Present when a read reached the tail (protocol §5.6).
pub const UP_TO_DATE: &str = "stream-up-to-date";

const JSON: &str = "application/json";

/// The upstream gave no answer: refused connection, time-out, broken off.
#[derive(Debug)]
pub struct NoAnswer;

/// One store's stream.
pub struct Stream {
    settings: UpstreamSettings,
    url: String,
}

impl Stream {
    /// `path` is the store's encoded path.
    pub fn new(settings: UpstreamSettings, path: &str) -> Self {
        let url = format!("{}/{path}", settings.url);
        Self { settings, url }
    }

    /// Protocol §5.5.
    pub async fn head(&self) -> Reply {
        let response = match self.send(Method::Head, "", &[], None).await {
            Ok(response) => response,
            Err(NoAnswer) => return Reply::Failed,
        };
        match (status_reply(&response), offset(&response)) {
            (Some(reply), _) => reply,
            (None, Some(tail)) => Reply::Tail(tail),
            (None, None) => Reply::Failed,
        }
    }

    /// Protocol §5.1: atomically with the header message, so that a stream is never without its identity.
    pub async fn create(&self, id: BackendId) -> Reply {
        let body = header_message(&id).into_bytes();
        let response = match self.send(Method::Put, "", &[("content-type", JSON)], Some(&body)).await {
            Ok(response) => response,
            Err(NoAnswer) => return Reply::Failed,
        };
        match (status_reply(&response), response.status_code(), offset(&response)) {
            (Some(reply), ..) => reply,
            (None, 201, Some(tail)) => Reply::Created(id, tail),
            (None, 200, _) => Reply::Exists,
            _ => Reply::Failed,
        }
    }

    /// Protocol §5.2, with the fence.
    pub async fn append(&self, parent: SeqNum, batch: &[u8]) -> Reply {
        let fence = fence(parent);
        let headers = [("content-type", JSON), ("stream-seq", fence.as_str())];
        let response = match self.send(Method::Post, "", &headers, Some(batch)).await {
            Ok(response) => response,
            Err(NoAnswer) => return Reply::Failed,
        };
        if response.status_code() == 409 {
            discard(&response);
            return Reply::Conflict;
        }
        match (status_reply(&response), offset(&response)) {
            (Some(reply), _) => reply,
            (None, Some(tail)) => Reply::Appended(tail),
            // Appended, but where? Read it.
            (None, None) => Reply::Failed,
        }
    }

    /// Protocol §5.4.
    pub async fn delete(&self) -> Reply {
        match self.send(Method::Delete, "", &[], None).await {
            Ok(response) => status_reply(&response).unwrap_or(Reply::Deleted),
            Err(NoAnswer) => Reply::Failed,
        }
    }

    /// Reads from `from` (the start if `None`) to the tail, page by page, keeping only what the scan keeps.
    pub async fn scan(&self, from: Option<&Offset>, probe: Option<Probe>) -> Reply {
        let mut scan = if from.is_none() { Scan::from_start() } else { Scan::onward(probe) };
        let mut at = from.cloned().unwrap_or_else(|| Offset(Offset::START.into()));
        loop {
            let page = match self.read(&at).await {
                Ok(page) => page,
                Err(NoAnswer) => return Reply::Failed,
            };
            if let Some(reply) = status_reply(&page) {
                return reply;
            }
            let (Some(next), up_to_date) = (offset(&page), page.headers().has(UP_TO_DATE).unwrap_or(false)) else {
                return Reply::Failed;
            };
            if self.scan_page(page, &mut scan).await.is_err() {
                return Reply::Failed;
            }
            if up_to_date {
                return Reply::Read(scan.finish(), next);
            }
            // A page that leads nowhere would be read for ever.
            if next <= at && at.0 != Offset::START {
                return Reply::Failed;
            }
            at = next;
        }
    }

    async fn read(&self, at: &Offset) -> Result<Response, NoAnswer> {
        self.send(Method::Get, &format!("?offset={}", at.0), &[], None).await
    }

    async fn scan_page(&self, mut page: Response, scan: &mut Scan) -> Result<(), NoAnswer> {
        let mut splitter = MessageSplitter::default();
        let mut chunks = page.stream().map_err(|_| NoAnswer)?;
        while let Some(chunk) = within(self.settings.timeout, chunks.next()).await? {
            let chunk = chunk.map_err(|_| NoAnswer)?;
            splitter.feed(&chunk, |message| scan.message(message)).map_err(|_| NoAnswer)?;
        }
        splitter.finish().map_err(|_| NoAnswer)
    }

    async fn send(
        &self,
        method: Method,
        query: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, NoAnswer> {
        self.send_patiently(Duration::ZERO, method, query, headers, body).await
    }

    /// Sends one request and waits for the head of its answer, `patience` longer than usual.
    pub async fn send_patiently(
        &self,
        patience: Duration,
        method: Method,
        query: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, NoAnswer> {
        let request = self.request(method, query, headers, body).map_err(|_| NoAnswer)?;
        let abort = AbortController::default();
        let signal = abort.signal();
        let fetch = Fetch::Request(request);
        let answer = within(self.settings.timeout + patience, Box::pin(fetch.send_with_signal(&signal))).await;
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(NoAnswer),
            Err(NoAnswer) => {
                abort.abort();
                Err(NoAnswer)
            }
        }
    }

    fn request(
        &self,
        method: Method,
        query: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> worker::Result<Request> {
        let all = Headers::new();
        for (name, value) in headers {
            all.set(name, value)?;
        }
        if let Some(token) = &self.settings.token {
            all.set("authorization", &format!("Bearer {token}"))?;
        }
        let mut init = RequestInit::new();
        init.with_method(method)
            .with_headers(all)
            // The token goes to no other place than the one configured.
            .with_redirect(RequestRedirect::Manual)
            // The runtime would cache by file extension, and a store may be named `notes.js`.
            .with_cache(CacheMode::NoStore)
            .with_body(body.map(|bytes| Uint8Array::from(bytes).into()));
        Request::new_with_init(&format!("{}{query}", self.url), &init)
    }
}

/// What an answer's status alone says; `None` for success.
fn status_reply(response: &Response) -> Option<Reply> {
    if let 200..=299 = response.status_code() {
        return None;
    }
    discard(response);
    match response.status_code() {
        404 | 410 => Some(Reply::Missing),
        // The server may have done it nevertheless, or may yet; 408 and 429 pass with time.
        408 | 429 | 500.. => Some(Reply::Failed),
        status => Some(Reply::Refused(status)),
    }
}

/// Lets go of a body that nobody will read: the runtime allows few open connections a request.
pub fn discard(response: &Response) {
    if let ResponseBody::Stream(stream) = response.body() {
        let _ = stream.cancel();
    }
}

fn offset(response: &Response) -> Option<Offset> {
    response.headers().get(NEXT_OFFSET).ok().flatten().map(Offset)
}

async fn within<T>(timeout: Duration, work: impl Future<Output = T> + Unpin) -> Result<T, NoAnswer> {
    match select(work, Delay::from(timeout)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(NoAnswer),
    }
}
