//! The upstream client: one function for each protocol operation. No function here retries, because only the caller knows
//! whether a retry is safe.
//!
//! Portals, firewalls and caches may answer in the server's place. Therefore an answer counts only if it is what the
//! protocol demands of that operation. Any other answer is [`UpstreamResult::Failed`], and says nothing about the log.

mod answer;
mod body;
mod epochs;
mod request;

use std::ops::ControlFlow;
use std::time::Duration;

use headwater_core::event::{BackendId, Offset, SeqNum, fence};
use headwater_core::log::{LogScanner, Paging, header_message, header_of};
use headwater_core::messages::SplitError;
use headwater_core::problem::Problem;
use headwater_core::sequencer::{Refusal, Tail, UpstreamResult};
use serde::de::IgnoredAny;
use worker::{Method, Response, Stub};

use self::answer::{expect, is_closed, is_json, next_offset, tail};
use self::body::{PageError, first_message, for_each_message};
use crate::settings::UpstreamSettings;

pub(crate) use self::answer::{JSON, discard, retry_after};
pub(crate) use self::body::Body;
pub(crate) use self::epochs::ProducerEpochs;
pub(crate) use self::request::{NoAnswer, StreamRequest};

/// The response header with the offset behind the answer (protocol §5).
pub(crate) const NEXT_OFFSET: &str = "stream-next-offset";
/// The response header of a read that reached the tail (protocol §5.6).
pub(crate) const UP_TO_DATE: &str = "stream-up-to-date";
/// The cursor of a live read (protocol §10.1).
pub(crate) const CURSOR: &str = "stream-cursor";
/// The response header of a stream that takes no more appends (protocol §4.1).
pub(crate) const CLOSED: &str = "stream-closed";

/// How much longer than the upstream's timeout a long-poll may wait for news.
pub(crate) const LONG_POLL: Duration = Duration::from_mins(1);

/// How often an offset at the tail is looked at while the log grows.
const BOUNDARY_LOOKS: usize = 3;

/// The longest event, as far as the default settings go. An offset inside a message tears no more than that message.
const LONGEST_EVENT: usize = 1 << 20;

const PRODUCER_EPOCH: &str = "producer-epoch";
const PRODUCER_SEQ: &str = "producer-seq";

/// The Sequencer's producer id (protocol §5.2.1). Producers belong to a stream. Therefore all stores share one id.
const PRODUCER_ID: &str = "headwater-sequencer";

/// The stream of a store at the upstream.
pub(crate) struct Stream {
    settings: UpstreamSettings,
    address: Address,
}

/// The address of every call to a Sequencer: the binding alone says which one it reaches.
pub(crate) const SEQUENCER_URL: &str = "http://sequencer/";

/// Where a stream is.
enum Address {
    /// The URL of a Durable Streams server's stream.
    Url(String),
    /// The Sequencer whose storage holds the log, and the call that asks for it.
    Sequencer(Stub, String),
}

impl Stream {
    /// The stream at the upstream. `path` is the store's encoded path.
    pub(crate) fn new(settings: UpstreamSettings, base: &str, path: &str) -> Self {
        Self { address: Address::Url(format!("{base}/{path}")), settings }
    }

    /// The log in a Sequencer's storage, which `call` asks for.
    pub(crate) fn built_in(settings: UpstreamSettings, sequencer: Stub, call: String) -> Self {
        Self { address: Address::Sequencer(sequencer, call), settings }
    }

    /// Finds out whose log it is, and where it ends. Most servers tell both in one read. A server that
    /// answers in pages gets a second request, for its tail (protocol §5.5).
    pub(crate) async fn check(&self) -> UpstreamResult {
        let LogReader { page, body, .. } = match self.open(&Offset(Offset::START.into())).await {
            Ok(reader) => reader,
            Err(result) => return result,
        };
        let header = match first_message(body).await {
            // An empty page in front of others does not say whose log it is.
            Ok(None) if !page.up_to_date => return UpstreamResult::Failed,
            Ok(first) => first.as_deref().and_then(header_of),
            Err(error) => return error.into(),
        };
        if page.up_to_date {
            return UpstreamResult::Checked(header, page.end());
        }
        match self.tail().await {
            Ok(tail) => UpstreamResult::Checked(header, tail),
            Err(result) => result,
        }
    }

    async fn tail(&self) -> Result<Tail, UpstreamResult> {
        self.metadata().await.map(|metadata| metadata.tail)
    }

    /// Asks for the end of the stream, and for what kind of stream it is (protocol §5.5).
    pub(crate) async fn metadata(&self) -> Result<Metadata, UpstreamResult> {
        let response = self
            .send(StreamRequest::new(Method::Head))
            .await
            .map_err(|NoAnswer| UpstreamResult::Failed)?;
        expect(&response, &[200])?;
        // An answer to HEAD has no body to discard.
        let tail = tail(&response).ok_or(UpstreamResult::Failed)?;
        Ok(Metadata { tail, is_json: is_json(&response) })
    }

    /// Creates the stream together with the header message (protocol §5.1). Therefore no stream is ever without a header.
    pub(crate) async fn create(&self, id: BackendId) -> UpstreamResult {
        let body = header_message(&id).into_bytes();
        let request = StreamRequest {
            headers: &[("content-type", JSON)],
            body: Some(&body),
            ..StreamRequest::new(Method::Put)
        };
        let Ok(response) = self.send(request).await else { return UpstreamResult::Failed };
        match (expect(&response, &[200, 201]), next_offset(&response)) {
            // A stream of another configuration exists, such as a closed one.
            (Err(UpstreamResult::Refused(Refusal { status: 409, .. })), _) => {
                UpstreamResult::Exists
            }
            (Err(result), _) => result,
            (Ok(201), Some(tail)) => UpstreamResult::Created(id, tail),
            (Ok(_), Some(_)) => UpstreamResult::Exists,
            (Ok(_), None) => {
                discard(&response);
                UpstreamResult::Failed
            }
        }
    }

    /// Appends a batch with the fence (protocol §5.2), as append number `producer_seq` of the epoch (§5.2.1). A server that
    /// was restored to an older state, or lost its memory, refuses that number instead of leaving a hole.
    ///
    /// The append landed only if the server answers 200 and names epoch and `producer_seq`. A 204 means "duplicate": the
    /// server appended nothing.
    pub(crate) async fn append(
        &self,
        parent: SeqNum,
        epochs: &ProducerEpochs,
        producer_seq: u64,
        batch: &[u8],
    ) -> UpstreamResult {
        let (fence, epoch, seq) =
            (fence(parent), epochs.for_append(producer_seq).to_string(), producer_seq.to_string());
        let headers = [
            ("content-type", JSON),
            ("stream-seq", fence.as_str()),
            ("producer-id", PRODUCER_ID),
            (PRODUCER_EPOCH, epoch.as_str()),
            (PRODUCER_SEQ, seq.as_str()),
        ];
        let request = StreamRequest {
            headers: &headers,
            body: Some(batch),
            ..StreamRequest::new(Method::Post)
        };
        let Ok(response) = self.send(request).await else { return UpstreamResult::Failed };
        let header = |name| response.headers().get(name).ok().flatten();
        let status = match expect(&response, &[200, 409]) {
            Ok(status) => status,
            // Another Sequencer of this store started later, or its clock is ahead.
            Err(UpstreamResult::Refused(Refusal { status: 403, .. }))
                if epochs.learn(header(PRODUCER_EPOCH)) =>
            {
                return UpstreamResult::Failed;
            }
            // The server lost or never had the start of the epoch: it knows an older state of this log.
            Err(UpstreamResult::Refused(Refusal { status: 400, .. })) if producer_seq != 0 => {
                return UpstreamResult::Failed;
            }
            Err(result) => return result,
        };
        if let (200, Some(tail)) = (status, next_offset(&response))
            && (header(PRODUCER_EPOCH), header(PRODUCER_SEQ)) == (Some(epoch), Some(seq))
        {
            return UpstreamResult::Appended(tail);
        }
        discard(&response);
        match status {
            409 if header("producer-expected-seq").is_none() => UpstreamResult::Conflict,
            _ => UpstreamResult::Failed,
        }
    }

    /// Closes the stream (protocol §5.3).
    pub(crate) async fn close(&self) -> UpstreamResult {
        let headers = &[(CLOSED, "true")];
        let request = StreamRequest { headers, ..StreamRequest::new(Method::Post) };
        let Ok(response) = self.send(request).await else { return UpstreamResult::Failed };
        match expect(&response, &[200, 204]) {
            Ok(_) if is_closed(&response) => UpstreamResult::Closed,
            Ok(_) => UpstreamResult::Failed,
            Err(result) => result,
        }
    }

    /// Deletes the stream (protocol §5.4).
    pub(crate) async fn delete(&self) -> UpstreamResult {
        let Ok(response) = self.send(StreamRequest::new(Method::Delete)).await else {
            return UpstreamResult::Failed;
        };
        match expect(&response, &[200, 204]) {
            Ok(_) => UpstreamResult::Deleted,
            Err(result) => result,
        }
    }

    /// Waits until the log goes on behind `tail`, for about as long as the upstream lets a long-poll wait (protocol §5.7).
    /// Returns the end of the log then.
    pub(crate) async fn wait_for_append(&self, tail: &Offset) -> Result<Offset, NoAnswer> {
        let query = format!("?live=long-poll&offset={}", tail.0);
        let request = StreamRequest {
            query: &query,
            extra_time: LONG_POLL,
            ..StreamRequest::new(Method::Get)
        };
        let response = self.send(request).await?;
        let is_answer = matches!(response.status_code(), 200 | 204);
        let end = next_offset(&response).filter(|_| is_answer);
        discard(&response);
        end.ok_or(NoAnswer)
    }

    /// Reads page by page from `from` (the start if `None`) to the tail. Memory holds only what the scanner keeps.
    pub(crate) async fn scan(
        &self,
        from: Option<Offset>,
        mut scanner: LogScanner,
    ) -> UpstreamResult {
        let start = from.unwrap_or_else(|| Offset(Offset::START.into()));
        let mut sink = |message: &[u8]| {
            scanner.message(message);
            ControlFlow::Continue(())
        };
        match self.read_messages(&start, &mut sink).await {
            Ok(Reading { end: Some(end), .. }) => UpstreamResult::Read(scanner.finish(), end),
            Ok(Reading { end: None, .. }) => UpstreamResult::Failed,
            Err(result) => result,
        }
    }

    /// Hands each message from an offset to the tail to `sink`, page by page, until `sink` breaks.
    pub(crate) async fn read_messages(
        &self,
        from: &Offset,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Reading, UpstreamResult> {
        let mut reader = self.open(from).await?;
        let mut flow = ControlFlow::Continue(());
        loop {
            let mut until_break = |message: &[u8]| {
                if flow.is_continue() {
                    flow = sink(message);
                }
                flow
            };
            match for_each_message(&mut reader.body, &mut until_break).await {
                Ok(()) => {}
                // The page is whole, but begins inside a message: the offset belongs to another log.
                Err(PageError::Split(SplitError::Truncated)) if from.0 != Offset::START => {
                    return Err(UpstreamResult::Unreadable);
                }
                Err(error) => return Err(error.into()),
            }
            if flow.is_break() {
                return Ok(Reading { page: reader.start, end: None });
            }
            if !self.next_page(&mut reader).await? {
                return Ok(Reading { end: Some(reader.page.end()), page: reader.start });
            }
        }
    }

    /// Whether the offset lies between two messages. A server answers any other offset with torn JSON, and an offset
    /// beyond its tail with nothing. An offset that the server refuses counts as one: its refusal says more.
    pub(crate) async fn has_boundary(&self, offset: &Offset) -> Result<bool, Problem> {
        let is_truth = |result: UpstreamResult| match result {
            UpstreamResult::Failed => Err(Problem::unavailable()),
            _ => Ok(true),
        };
        for _ in 0..BOUNDARY_LOOKS {
            let mut reader = match self.open(offset).await {
                Ok(reader) => reader,
                Err(result) => return is_truth(result),
            };
            let (mut bytes, mut is_json) = (0, true);
            let mut sink = |message: &[u8]| {
                bytes += message.len();
                is_json &= serde_json::from_slice::<IgnoredAny>(message).is_ok();
                let goes_on = is_json && bytes <= LONGEST_EVENT;
                if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            match for_each_message(&mut reader.body, &mut sink).await {
                Ok(()) if reader.body.is_empty() && reader.page.up_to_date => {}
                Ok(()) => return Ok(is_json),
                Err(PageError::Split(_)) => return Ok(false),
                Err(PageError::NoAnswer) => return Err(Problem::unavailable()),
            }
            match self.tail().await {
                // The log has grown since, and shows now what follows.
                Ok(tail) if tail.offset > *offset => {}
                Ok(tail) => return Ok(tail.offset == *offset),
                Err(result) => return is_truth(result),
            }
        }
        Err(Problem::unavailable())
    }

    /// Starts to read the log at an offset.
    pub(crate) async fn open(&self, start: &Offset) -> Result<LogReader, UpstreamResult> {
        let page = self.page(start).await?;
        let body = Body::new(&page.response, self.settings.timeout)
            .map_err(|NoAnswer| UpstreamResult::Failed)?;
        Ok(LogReader { page, body, start: start.clone(), paging: Paging::default() })
    }

    /// Moves the reader to the next page. False if the current page reached the tail.
    pub(crate) async fn next_page(&self, reader: &mut LogReader) -> Result<bool, UpstreamResult> {
        let Page { next, up_to_date, .. } = &reader.page;
        if *up_to_date {
            return Ok(false);
        }
        if !reader.paging.leads_on(&reader.start, next, reader.body.is_empty()) {
            return Err(UpstreamResult::Failed);
        }
        let paging = std::mem::take(&mut reader.paging);
        *reader = LogReader { paging, ..self.open(&reader.page.next).await? };
        Ok(true)
    }

    /// Requests a page of the log (protocol §5.6), and checks the head of the answer. Every server of the protocol says
    /// where a page ends. A server that says so of another content type keeps another kind of stream.
    async fn page(&self, start: &Offset) -> Result<Page, UpstreamResult> {
        let query = format!("?offset={}", start.0);
        let response = self
            .send(StreamRequest { query: &query, ..StreamRequest::new(Method::Get) })
            .await
            .map_err(|NoAnswer| UpstreamResult::Failed)?;
        expect(&response, &[200])?;
        let Some(next) = next_offset(&response) else {
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
}

/// How far [`Stream::read_messages`] has read.
pub(crate) struct Reading {
    /// The offset of the last page.
    pub(crate) page: Offset,
    /// The tail; `None` if the reading ended before.
    pub(crate) end: Option<Tail>,
}

/// What `HEAD` tells of a stream.
pub(crate) struct Metadata {
    pub(crate) tail: Tail,
    /// Whether the stream is one of JSON messages.
    pub(crate) is_json: bool,
}

/// A read of the log that goes from page to page.
pub(crate) struct LogReader {
    /// The current page.
    pub(crate) page: Page,
    /// The part of the page that is still to be read.
    pub(crate) body: Body,
    /// The offset of the current page.
    start: Offset,
    paging: Paging,
}

/// A page of the log.
pub(crate) struct Page {
    pub(crate) response: Response,
    /// The offset behind the page.
    next: Offset,
    /// Whether the page reached the tail.
    up_to_date: bool,
}

impl Page {
    /// The end of a page that reached the tail.
    fn end(&self) -> Tail {
        Tail { offset: self.next.clone(), closed: is_closed(&self.response) }
    }
}
