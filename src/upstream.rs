//! Requests to the Durable Streams server that keeps the log: one function a protocol operation.
//! Nothing here retries; who calls knows whether it may.

use std::ops::ControlFlow;
use std::time::Duration;

use futures::future::{Either, select};
use futures::io::AsyncReadExt;
use futures::stream::StreamExt;
use wasm_streams::ReadableStream;
use wasm_streams::readable::IntoAsyncRead;
use worker::{
    AbortController, ByteStream, CacheMode, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect,
    Response, ResponseBody, js_sys::Uint8Array, wasm_bindgen::JsCast,
};

use crate::event::{BackendId, Offset, SeqNum, fence};
use crate::messages::{MessageSplitter, SplitError};
use crate::sequencer::core::{Refusal, Reply};
use crate::sequencer::scan::{Probe, Scan, header_message, header_of};
use crate::settings::UpstreamSettings;

/// The tail after an operation (protocol §5).
pub const NEXT_OFFSET: &str = "stream-next-offset";
/// Present when a read reached the tail (protocol §5.6).
pub const UP_TO_DATE: &str = "stream-up-to-date";
/// Present when the stream takes no appends any more (protocol §4.1).
pub const CLOSED: &str = "stream-closed";

const JSON: &str = "application/json";

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

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

    /// Whose stream is it, and where does it end? Both from the head of one read; only a server that
    /// answers in pages is asked for its tail apart (protocol §5.5).
    pub async fn check(&self) -> Reply {
        let page = match self.read(&Offset(Offset::START.into())).await {
            Ok(page) => page,
            Err(NoAnswer) => return Reply::Failed,
        };
        if let Some(reply) = status_reply(&page) {
            return reply;
        }
        let tail = offset(&page).filter(|_| is_up_to_date(&page));
        let header = match self.first_message(page).await {
            Ok(first) => first.as_deref().and_then(header_of),
            Err(reply) => return reply,
        };
        match tail {
            Some(tail) => Reply::Checked(header, tail),
            None => self.tail().await.map_or_else(|reply| reply, |tail| Reply::Checked(header, tail)),
        }
    }

    async fn tail(&self) -> Result<Offset, Reply> {
        let response = self.send(Method::Head, "", &[], None).await.map_err(|NoAnswer| Reply::Failed)?;
        match status_reply(&response) {
            Some(reply) => Err(reply),
            None => offset(&response).ok_or(Reply::Failed),
        }
    }

    /// Reads no further than the first message.
    async fn first_message(&self, page: Response) -> Result<Option<Vec<u8>>, Reply> {
        let mut first = None;
        self.messages(page, |message| {
            first.get_or_insert_with(|| message.to_vec());
            ControlFlow::Break(())
        })
        .await?;
        Ok(first)
    }

    /// Hands each message of a page to `sink`, until that has enough.
    async fn messages(&self, page: Response, mut sink: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), Reply> {
        let mut splitter = MessageSplitter::default();
        let mut enough = ControlFlow::Continue(());
        let mut body = self.body(&page).map_err(|NoAnswer| Reply::Failed)?;
        while let Some(chunk) = body.chunk().await.map_err(|NoAnswer| Reply::Failed)? {
            splitter.feed(chunk, |message| enough = sink(message)).map_err(split_reply)?;
            if enough.is_break() {
                return Ok(());
            }
        }
        splitter.finish().map_err(split_reply)
    }

    /// The body of an answer, to be read bit by bit.
    pub fn body(&self, page: &Response) -> Result<Body, NoAnswer> {
        let ResponseBody::Stream(stream) = page.body() else { return Err(NoAnswer) };
        let reader = ReadableStream::from_raw(stream.clone().unchecked_into()).try_into_async_read();
        Ok(Body { reader: reader.map_err(|_| NoAnswer)?, buffer: vec![0; CHUNK], timeout: self.settings.timeout })
    }

    /// One page of the log from an offset on, to be read bit by bit, and where the next one begins if this
    /// one does not reach the tail.
    pub async fn open(&self, at: &Offset) -> Result<(Body, Option<Offset>), Reply> {
        let page = self.read(at).await.map_err(|NoAnswer| Reply::Failed)?;
        if let Some(reply) = status_reply(&page) {
            return Err(reply);
        }
        let next = offset(&page).filter(|next| !is_up_to_date(&page) && next != at);
        Ok((self.body(&page).map_err(|NoAnswer| Reply::Failed)?, next))
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

    /// Protocol §5.2, with the fence; and as the `streak`-th append of `producer` (§5.2.1), so that a
    /// server that was restored to an older state, or lost its memory, refuses instead of leaving a hole.
    pub async fn append(&self, parent: SeqNum, producer: &str, streak: u64, batch: &[u8]) -> Reply {
        let (fence, streak) = (fence(parent), streak.to_string());
        let headers = [
            ("content-type", JSON),
            ("stream-seq", fence.as_str()),
            ("producer-id", producer),
            ("producer-epoch", "0"),
            ("producer-seq", streak.as_str()),
        ];
        let response = match self.send(Method::Post, "", &headers, Some(batch)).await {
            Ok(response) => response,
            Err(NoAnswer) => return Reply::Failed,
        };
        if response.status_code() == 409 {
            discard(&response);
            let has = |name| response.headers().has(name).unwrap_or(false);
            return match (has(CLOSED), has("producer-expected-seq")) {
                (true, _) => Reply::Closed,
                (false, true) => Reply::Failed,
                (false, false) => Reply::Conflict,
            };
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
            let Some(next) = offset(&page) else { return Reply::Failed };
            let up_to_date = is_up_to_date(&page);
            let read = self.messages(page, |message| {
                scan.message(message);
                ControlFlow::Continue(())
            });
            if let Err(reply) = read.await {
                return reply;
            }
            if up_to_date {
                return Reply::Read(scan.finish(), next);
            }
            // A page that leads nowhere would be read for ever.
            if next == at || (next < at && at.0 != Offset::START) {
                return Reply::Failed;
            }
            at = next;
        }
    }

    /// One page of the log from an offset on.
    pub async fn read(&self, at: &Offset) -> Result<Response, NoAnswer> {
        self.send(Method::Get, &format!("?offset={}", at.0), &[], None).await
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

/// The body of an answer; dropping it cancels what has not been read.
pub struct Body {
    reader: IntoAsyncRead<'static>,
    /// One for the whole body: a new one for each chunk would pile up faster than the runtime collects them.
    buffer: Vec<u8>,
    timeout: Duration,
}

impl Body {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<&[u8]>, NoAnswer> {
        let read = within(self.timeout, self.reader.read(&mut self.buffer)).await;
        let Ok(Ok(length)) = read else { return Err(NoAnswer) };
        Ok((length > 0).then(|| &self.buffer[..length]))
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
        // The server may have done it nevertheless, or may yet.
        408 | 500.. => Some(Reply::Failed),
        status => Some(Reply::Refused(Refusal { status, retry_after: retry_after(response) })),
    }
}

/// `Retry-After` in seconds, where it is not a date.
pub fn retry_after(response: &Response) -> Option<u32> {
    response.headers().get("retry-after").ok().flatten()?.parse().ok()
}

fn split_reply(error: SplitError) -> Reply {
    match error {
        // Cut off on the way, most likely.
        SplitError::Truncated => Reply::Failed,
        SplitError::Unexpected(_) | SplitError::TooLarge => Reply::Unreadable,
    }
}

fn is_up_to_date(page: &Response) -> bool {
    page.headers().has(UP_TO_DATE).unwrap_or(false)
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

/// The whole of a body; `None` if it is longer than `max` bytes, and then it is not read to its end.
pub async fn collect(mut chunks: ByteStream, max: usize) -> worker::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > max {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

/// Waits so long and no longer.
pub async fn within<T>(timeout: Duration, work: impl Future<Output = T> + Unpin) -> Result<T, NoAnswer> {
    match select(work, Delay::from(timeout)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(NoAnswer),
    }
}
