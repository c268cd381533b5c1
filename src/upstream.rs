//! Requests to the Durable Streams server that keeps the log: one function a protocol operation.
//! Nothing here retries; who calls knows whether it may.
//!
//! Between here and the server others may answer: portals, firewalls, caches. So an answer counts only if it is what the
//! protocol demands of that operation. Everything else is no answer (`UpstreamResult::Failed`), and tells nothing of the log.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use futures::future::{Either, select};
use futures::io::AsyncReadExt;
use futures::stream::StreamExt;
use wasm_streams::ReadableStream;
use wasm_streams::readable::IntoAsyncRead;
use worker::{
    AbortController, ByteStream, CacheMode, Date, Delay, Fetch, Headers, Method, Request,
    RequestInit, RequestRedirect, Response, ResponseBody, js_sys::Uint8Array, wasm_bindgen::JsCast,
};

use crate::settings::UpstreamSettings;
use headwater_core::event::{BackendId, Offset, SeqNum, fence};
use headwater_core::log::Paging;
use headwater_core::log::{LogScanner, header_message, header_of};
use headwater_core::messages::{MessageSplitter, SplitError};
use headwater_core::sequencer::{Refusal, UpstreamResult};

/// The tail after an operation (protocol §5).
pub const NEXT_OFFSET: &str = "stream-next-offset";
/// Present when a read reached the tail (protocol §5.6).
pub const UP_TO_DATE: &str = "stream-up-to-date";
/// Present when the stream takes no appends any more (protocol §4.1).
pub const CLOSED: &str = "stream-closed";

const PRODUCER_EPOCH: &str = "producer-epoch";
const PRODUCER_SEQ: &str = "producer-seq";

/// The Sequencer's name as a producer (protocol §5.2.1), the same in every incarnation of it: producers are a stream's own.
const PRODUCER: &str = "headwater-sequencer";

const JSON: &str = "application/json";

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// How far ahead of this clock another one may be, in milliseconds: a day.
const MAX_AHEAD_MS: u64 = 24 * 60 * 60 * 1_000;

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
    pub async fn check(&self) -> UpstreamResult {
        let Opened { page, body, .. } = match self.open(&Offset(Offset::START.into())).await {
            Ok(opened) => opened,
            Err(reply) => return reply,
        };
        let header = match first_message(body).await {
            // Whose the log is, if it has anything, is not said.
            Ok(None) if !page.up_to_date => return UpstreamResult::Failed,
            Ok(first) => first.as_deref().and_then(header_of),
            Err(reply) => return reply,
        };
        match page.up_to_date {
            true => UpstreamResult::Checked(header, page.next),
            false => self
                .tail()
                .await
                .map_or_else(|reply| reply, |tail| UpstreamResult::Checked(header, tail)),
        }
    }

    async fn tail(&self) -> Result<Offset, UpstreamResult> {
        let response = self
            .send(Method::Head, "", &[], None)
            .await
            .map_err(|NoAnswer| UpstreamResult::Failed)?;
        expect(&response, &[200])?;
        // To HEAD there is no body.
        offset(&response).ok_or(UpstreamResult::Failed)
    }

    /// The body of an answer, to be read bit by bit.
    pub fn body(&self, page: &Response) -> Result<Body, NoAnswer> {
        let ResponseBody::Stream(stream) = page.body() else { return Err(NoAnswer) };
        let reader =
            ReadableStream::from_raw(stream.clone().unchecked_into()).try_into_async_read();
        let (buffer, timeout) = (vec![0; CHUNK], self.settings.timeout);
        Ok(Body { reader: reader.map_err(|_| NoAnswer)?, buffer, timeout, is_empty: true })
    }

    /// The log from an offset on, to be read bit by bit.
    pub async fn open(&self, at: &Offset) -> Result<Opened, UpstreamResult> {
        let page = self.page(at).await?;
        let body = self.body(&page.response).map_err(|NoAnswer| UpstreamResult::Failed)?;
        Ok(Opened { page, body, at: at.clone(), way: Paging::default() })
    }

    /// Goes on to the page after the one that was read; false if that one reached the tail.
    pub async fn turn(&self, opened: &mut Opened) -> Result<bool, UpstreamResult> {
        let Page { next, up_to_date, .. } = &opened.page;
        if *up_to_date {
            return Ok(false);
        }
        if !opened.way.leads_on(&opened.at, next, opened.body.is_empty) {
            return Err(UpstreamResult::Failed);
        }
        let way = std::mem::take(&mut opened.way);
        *opened = Opened { way, ..self.open(&opened.page.next).await? };
        Ok(true)
    }

    /// Protocol §5.1: atomically with the header message, so that a stream is never without its identity.
    pub async fn create(&self, id: BackendId) -> UpstreamResult {
        let body = header_message(&id).into_bytes();
        let response =
            match self.send(Method::Put, "", &[("content-type", JSON)], Some(&body)).await {
                Ok(response) => response,
                Err(NoAnswer) => return UpstreamResult::Failed,
            };
        match (expect(&response, &[200, 201]), offset(&response)) {
            (Err(reply), _) => reply,
            (Ok(201), Some(tail)) => UpstreamResult::Created(id, tail),
            (Ok(_), Some(_)) => UpstreamResult::Exists,
            (Ok(_), None) => {
                discard(&response);
                UpstreamResult::Failed
            }
        }
    }

    /// Protocol §5.2, with the fence; and as the `producer_seq`-th append of this epoch (§5.2.1), so that a
    /// server that was restored to an older state, or lost its memory, refuses instead of leaving a hole.
    ///
    /// It has landed only if the server says 200 and names that append. 204 means "duplicate": nothing was appended.
    pub async fn append(
        &self,
        parent: SeqNum,
        epochs: &Epochs,
        producer_seq: u64,
        batch: &[u8],
    ) -> UpstreamResult {
        let (fence, epoch, producer_seq) =
            (fence(parent), epochs.at(producer_seq).to_string(), producer_seq.to_string());
        let headers = [
            ("content-type", JSON),
            ("stream-seq", fence.as_str()),
            ("producer-id", PRODUCER),
            (PRODUCER_EPOCH, epoch.as_str()),
            (PRODUCER_SEQ, producer_seq.as_str()),
        ];
        let response = match self.send(Method::Post, "", &headers, Some(batch)).await {
            Ok(response) => response,
            Err(NoAnswer) => return UpstreamResult::Failed,
        };
        let said = |name| response.headers().get(name).ok().flatten();
        let status = match expect(&response, &[200, 409]) {
            Ok(status) => status,
            // Another incarnation of this Sequencer was later, or its clock ahead. Or this server knows an older state of ours, in
            // which the epoch had not begun.
            Err(UpstreamResult::Refused(Refusal { status: 403, .. }))
                if epochs.learn(said(PRODUCER_EPOCH)) =>
            {
                return UpstreamResult::Failed;
            }
            Err(UpstreamResult::Refused(Refusal { status: 400, .. })) if producer_seq != "0" => {
                return UpstreamResult::Failed;
            }
            Err(reply) => return reply,
        };
        if let (200, Some(tail)) = (status, offset(&response))
            && (said(PRODUCER_EPOCH), said(PRODUCER_SEQ)) == (Some(epoch), Some(producer_seq))
        {
            return UpstreamResult::Appended(tail);
        }
        discard(&response);
        match status {
            409 if said(CLOSED).is_some_and(|closed| closed.eq_ignore_ascii_case("true")) => {
                UpstreamResult::Closed
            }
            409 if said("producer-expected-seq").is_none() => UpstreamResult::Conflict,
            _ => UpstreamResult::Failed,
        }
    }

    /// Protocol §5.4.
    pub async fn delete(&self) -> UpstreamResult {
        match self.send(Method::Delete, "", &[], None).await {
            Ok(response) => expect(&response, &[200, 204])
                .map_or_else(|reply| reply, |_| UpstreamResult::Deleted),
            Err(NoAnswer) => UpstreamResult::Failed,
        }
    }

    /// Reads from `from` (the start if `None`) to the tail, page by page, keeping only what the scan keeps.
    pub async fn scan(&self, from: Option<Offset>, mut scan: LogScanner) -> UpstreamResult {
        let is_resumed = from.is_some();
        let start = from.unwrap_or_else(|| Offset(Offset::START.into()));
        let mut opened = match self.open(&start).await {
            Ok(opened) => opened,
            Err(reply) => return reply,
        };
        loop {
            let read = messages(&mut opened.body, |message| {
                scan.message(message);
                ControlFlow::Continue(())
            });
            match read.await {
                Ok(()) => {}
                // What came is whole, but begins within a message: the offset is another log's.
                Err(Torn::Split(SplitError::Truncated)) if is_resumed => {
                    return UpstreamResult::Unreadable;
                }
                Err(torn) => return torn.into(),
            }
            match self.turn(&mut opened).await {
                Ok(true) => {}
                Ok(false) => return UpstreamResult::Read(scan.finish(), opened.page.next),
                Err(reply) => return reply,
            }
        }
    }

    /// The head of a page of the log (protocol §5.6), checked to be one. A server of the protocol says where a page ends;
    /// one that says so of something else than JSON keeps another kind of stream.
    async fn page(&self, at: &Offset) -> Result<Page, UpstreamResult> {
        let query = format!("?offset={}", at.0);
        let response = self
            .send(Method::Get, &query, &[], None)
            .await
            .map_err(|NoAnswer| UpstreamResult::Failed)?;
        expect(&response, &[200])?;
        let Some(next) = offset(&response) else {
            discard(&response);
            return Err(UpstreamResult::Failed);
        };
        if !is_json(&response) {
            discard(&response);
            return Err(UpstreamResult::Unreadable);
        }
        let up_to_date = response.headers().has(UP_TO_DATE).unwrap_or(false);
        Ok(Page { response, next, up_to_date })
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
        let answer =
            within(self.settings.timeout + patience, Box::pin(fetch.send_with_signal(&signal)))
                .await;
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
    /// Whether what was read so far holds no message.
    is_empty: bool,
}

impl Body {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<&[u8]>, NoAnswer> {
        let read = within(self.timeout, self.reader.read(&mut self.buffer)).await;
        let Ok(Ok(length)) = read else { return Err(NoAnswer) };
        let chunk = &self.buffer[..length];
        self.is_empty &=
            chunk.iter().all(|byte| matches!(byte, b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
        Ok((length > 0).then_some(chunk))
    }
}

/// A read of the log, at one of its pages.
pub struct Opened {
    /// The page.
    pub page: Page,
    /// Read as far as it was asked for.
    pub body: Body,
    at: Offset,
    way: Paging,
}

/// A page of the log.
pub struct Page {
    /// Its head, and the body that is still to be read.
    pub response: Response,
    /// Where it ends.
    pub next: Offset,
    /// Whether that is the tail.
    pub up_to_date: bool,
}

/// The epochs of the Sequencer as a producer (protocol §5.2.1). Each producer_seq of appends has its own, higher than all before:
/// a sequence that the server has seen is answered as a duplicate, and not appended. The clock makes it so across restarts,
/// and where it does not, the server names the epoch to go above.
#[derive(Debug, Default)]
pub struct Epochs(Cell<u64>);

impl Epochs {
    /// The epoch of the `producer_seq`-th append.
    fn at(&self, producer_seq: u64) -> u64 {
        if producer_seq == 0 {
            self.0.set((self.0.get() + 1).max(Date::now().as_millis()));
        }
        self.0.get()
    }

    /// Takes note of the epoch that the server names; false if it names none. One that no clock can have made is somebody
    /// else's word: to go above it would leave no epoch to go above it the next time.
    fn learn(&self, named: Option<String>) -> bool {
        let Some(named) = named.and_then(|epoch| epoch.parse::<u64>().ok()) else { return false };
        if named <= Date::now().as_millis() + MAX_AHEAD_MS {
            self.0.set(self.0.get().max(named));
        }
        true
    }
}

/// Whether the status is one of those that mean something to this operation; else what it says all the same.
fn expect(response: &Response, meant: &[u16]) -> Result<u16, UpstreamResult> {
    let status = response.status_code();
    if meant.contains(&status) {
        return Ok(status);
    }
    discard(response);
    Err(match status {
        404 => UpstreamResult::Missing,
        410 => UpstreamResult::Gone,
        // The server may have done it nevertheless, or may yet; or it is somebody else's answer.
        ..400 | 408 | 500.. => UpstreamResult::Failed,
        _ => UpstreamResult::Refused(Refusal { status, retry_after: retry_after(response) }),
    })
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get("content-type").ok().flatten().unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON)
}

/// `Retry-After` in seconds, where it is not a date.
pub fn retry_after(response: &Response) -> Option<u32> {
    response.headers().get("retry-after").ok().flatten()?.parse().ok()
}

/// Reads no further than the first message.
async fn first_message(mut body: Body) -> Result<Option<Vec<u8>>, UpstreamResult> {
    let mut first = None;
    messages(&mut body, |message| {
        first.get_or_insert_with(|| message.to_vec());
        ControlFlow::Break(())
    })
    .await?;
    Ok(first)
}

/// Hands each message of a page to `sink`, until that has enough.
async fn messages(
    body: &mut Body,
    mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), Torn> {
    let mut splitter = MessageSplitter::default();
    let mut enough = ControlFlow::Continue(());
    while let Some(chunk) = body.chunk().await? {
        splitter.feed(chunk, |message| enough = sink(message))?;
        if enough.is_break() {
            return Ok(());
        }
    }
    Ok(splitter.finish()?)
}

/// Why a page did not come whole.
enum Torn {
    NoAnswer,
    Split(SplitError),
}

impl From<NoAnswer> for Torn {
    fn from(NoAnswer: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

impl From<SplitError> for Torn {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

impl From<Torn> for UpstreamResult {
    fn from(torn: Torn) -> Self {
        match torn {
            // Cut off on the way, most likely.
            Torn::NoAnswer | Torn::Split(SplitError::Truncated) => Self::Failed,
            Torn::Split(SplitError::Unexpected(_) | SplitError::TooLarge) => Self::Unreadable,
        }
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
pub async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = T> + Unpin,
) -> Result<T, NoAnswer> {
    match select(work, Delay::from(timeout)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(NoAnswer),
    }
}
