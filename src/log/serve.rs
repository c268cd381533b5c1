//! Reads of the built-in log, answered as a server of the protocol answers them.

use std::rc::Rc;
use std::time::Duration;

use futures::stream;
use headwater_core::event::Offset;
use headwater_core::route::Target;
use worker::{Headers, Request, Response, Result};

use super::BuiltInLog;
use super::built_in::{End, offset, place};
use crate::isolate::{as_ms, now_ms, within};
use crate::upstream::{CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE};

/// How long a long-poll waits for news (protocol §5.7).
const LONG_POLL: Duration = Duration::from_secs(25);

/// How long a connection of server-sent events lasts (protocol §5.8).
const SSE: Duration = Duration::from_mins(1);

/// The length of a cursor's interval (protocol §10.1).
const CURSOR_MS: u64 = 20_000;

/// The part of the answer that one step of a body makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Begin,
    Messages,
    Done,
}

impl BuiltInLog {
    /// Answers `GET` and `HEAD` of the log (protocol §5.5 to §5.8).
    pub(crate) async fn serve(self: Rc<Self>, request: &Request) -> Result<Response> {
        let url = request.inner().url();
        let Target { query, .. } = Target::of(&url);
        let query =
            |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let Some(end) = self.end() else { return status(404, &Headers::new()) };
        if request.inner().method() == "HEAD" {
            let headers = head(end)?;
            headers.set("content-type", "application/json")?;
            return status(200, &headers);
        }
        let asked = query("offset").unwrap_or_else(|| Offset::START.into());
        let is_now = asked == "now";
        let from = if is_now { Some(end.at) } else { place(&asked) };
        // Nothing follows an offset behind the tail.
        let Some(from) = from.map(|from| from.min(end.at)) else {
            return status(400, &Headers::new());
        };
        let cursor = query("cursor");
        match query("live").as_deref() {
            Some("sse") => self.follow(from, end, cursor),
            Some("long-poll") => self.poll(from, end, cursor).await,
            _ if is_now => self.page(from, end),
            _ => self.tagged_page(from, end, request.headers().get("if-none-match")?),
        }
    }

    /// Everything from a place to the end, or 304 if the reader has it.
    fn tagged_page(
        self: Rc<Self>,
        from: u64,
        end: End,
        if_none_match: Option<String>,
    ) -> Result<Response> {
        let closed = if end.closed { ":c" } else { "" };
        let etag = format!("\"{}:{}{closed}\"", offset(from).0, offset(end.at).0);
        if if_none_match.as_deref() == Some(etag.as_str()) {
            let headers = head(end)?;
            headers.set("etag", &etag)?;
            return status(304, &headers);
        }
        let response = self.page(from, end)?;
        response.headers().set("etag", &etag)?;
        Ok(response)
    }

    /// Everything from a place to the end.
    fn page(self: Rc<Self>, from: u64, end: End) -> Result<Response> {
        let headers = head(end)?;
        headers.set(UP_TO_DATE, "true")?;
        headers.set("content-type", "application/json")?;
        let page = Page { log: self, at: from, end, part: Part::Begin };
        let body = stream::try_unfold(page, Page::step);
        Ok(Response::from_stream(Box::pin(body))?.with_headers(headers))
    }

    /// Waits for the messages behind a place.
    async fn poll(self: Rc<Self>, from: u64, end: End, cursor: Option<String>) -> Result<Response> {
        let is_news = |end: End| end.at > from || end.closed;
        if !is_news(end) {
            let _ = within(LONG_POLL, self.change()).await;
        }
        let now = self.end().filter(|now| now.is_of(&end));
        let Some(end) = now else { return status(404, &Headers::new()) };
        let response = if end.at > from {
            self.page(from, end)?
        } else {
            let headers = head(end)?;
            headers.set(UP_TO_DATE, "true")?;
            status(204, &headers)?
        };
        response.headers().set(CURSOR, &next_cursor(cursor))?;
        Ok(response)
    }

    /// Sends the messages behind a place as they come, until the stream is deleted.
    fn follow(self: Rc<Self>, from: u64, end: End, cursor: Option<String>) -> Result<Response> {
        let until_ms = now_ms() + as_ms(SSE);
        let follower = Follower {
            log: self,
            at: from,
            end,
            cursor: next_cursor(cursor),
            until_ms,
            has_sent: false,
        };
        let body = stream::try_unfold(Some(follower), Follower::step);
        let headers = Headers::new();
        headers.set("content-type", "text/event-stream")?;
        Ok(Response::from_stream(Box::pin(body))?.with_headers(headers))
    }
}

/// The body of a page, while it is sent.
struct Page {
    log: Rc<BuiltInLog>,
    at: u64,
    end: End,
    part: Part,
}

impl Page {
    async fn step(mut self) -> Result<Option<(Vec<u8>, Self)>> {
        let bytes = match self.part {
            Part::Done => return Ok(None),
            Part::Begin if self.at == self.end.at => {
                self.part = Part::Done;
                b"[]".to_vec()
            }
            Part::Begin => {
                self.part = Part::Messages;
                b"[".to_vec()
            }
            Part::Messages => {
                let mut bytes = self.log.bytes(self.at, self.end).await?;
                self.at += bytes.len() as u64;
                if self.at == self.end.at {
                    self.part = Part::Done;
                    // In place of the last comma.
                    *bytes.last_mut().expect("a part has bytes") = b']';
                }
                bytes
            }
        };
        Ok(Some((bytes, self)))
    }
}

/// A connection of server-sent events.
struct Follower {
    log: Rc<BuiltInLog>,
    at: u64,
    /// The end of the log as it was last seen.
    end: End,
    cursor: String,
    until_ms: u64,
    /// Whether the client knows where it is.
    has_sent: bool,
}

impl Follower {
    /// The next events, once there are any. `None` at the connection's end.
    async fn step(follower: Option<Self>) -> Result<Option<(Vec<u8>, Option<Self>)>> {
        let Some(mut follower) = follower else { return Ok(None) };
        loop {
            let now = follower.log.end().filter(|now| now.is_of(&follower.end));
            let Some(end) = now else { return Ok(None) };
            follower.end = end;
            if follower.at < end.at || end.closed || !follower.has_sent {
                follower.log.durable().await?;
                let text = follower.events().await?;
                let is_over = end.closed && follower.at == end.at;
                return Ok(Some((text, (!is_over).then_some(follower))));
            }
            let left_ms = follower.until_ms.saturating_sub(now_ms());
            let change = follower.log.change();
            if left_ms == 0 || within(Duration::from_millis(left_ms), change).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// The messages of the next rows, and the event that says where the client is now.
    async fn events(&mut self) -> Result<Vec<u8>> {
        let (mut text, end) = (Vec::new(), self.end);
        if self.at < end.at {
            let mut messages = self.log.bytes(self.at, end).await?;
            self.at += messages.len() as u64;
            messages.pop();
            // A line's end would end the event's line. JSON has none inside of strings.
            messages
                .iter_mut()
                .filter(|byte| matches!(byte, b'\n' | b'\r'))
                .for_each(|byte| *byte = b' ');
            text.extend_from_slice(b"event: data\ndata:[");
            text.extend_from_slice(&messages);
            text.extend_from_slice(b"]\n\n");
        }
        self.has_sent = true;
        let is_tail = self.at == end.at;
        let mut control = serde_json::json!({ "streamNextOffset": offset(self.at).0 });
        if is_tail && end.closed {
            control["streamClosed"] = true.into();
        } else {
            control["streamCursor"] = self.cursor.as_str().into();
        }
        if is_tail {
            control["upToDate"] = true.into();
        }
        text.extend_from_slice(format!("event: control\ndata:{control}\n\n").as_bytes());
        Ok(text)
    }
}

/// The headers that say where the log ends.
fn head(end: End) -> Result<Headers> {
    let headers = Headers::new();
    headers.set(NEXT_OFFSET, &offset(end.at).0)?;
    if end.closed {
        headers.set(CLOSED, "true")?;
    }
    Ok(headers)
}

fn status(status: u16, headers: &Headers) -> Result<Response> {
    Ok(Response::empty()?.with_status(status).with_headers(headers.clone()))
}

/// The number of the present interval, or of a later one: a cursor must go on (protocol §10.1).
fn next_cursor(cursor: Option<String>) -> String {
    let now = now_ms() / CURSOR_MS;
    let after = cursor.and_then(|cursor| cursor.parse::<u64>().ok()).map_or(0, |cursor| cursor + 1);
    now.max(after.min(now + 180)).to_string()
}
