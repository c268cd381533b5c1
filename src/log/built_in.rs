//! A log in the Sequencer's own storage.
//!
//! The log is a sequence of bytes: each message, and a comma behind it. An offset is a place in that sequence, in
//! digits. A row holds the bytes of one append, or of several that were merged. The runtime writes all rows of one step
//! in one transaction, the row of the append and the row of its tip among them. It holds back every answer until they
//! are durable (the output gate).
//!
//! Only this Sequencer writes to its storage. Therefore an append needs no fence, and its outcome is never unknown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use headwater_core::event::{BackendId, Offset};
use headwater_core::log::{LogScanner, header_message};
use headwater_core::messages::MessageSplitter;
use headwater_core::sequencer::call::Room;
use headwater_core::sequencer::{Refusal, Request, Tail, UpstreamResult};
use serde::Deserialize;
use worker::{Error, Result, SqlStorage, SqlStorageValue, Storage, console_error, console_warn};

use super::bucket::{LogBucket, SWEEP_AGAIN};
use super::new_backend_id;
use crate::isolate::{as_ms, now_ms};
use crate::settings::MAX_ROW;
use crate::sql::{count, integer, number, one};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS stream (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        backend_id TEXT NOT NULL,
        closed INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS log (
        end INTEGER PRIMARY KEY,
        merged INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS leftover (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        end_offset TEXT
    );";

const COUNT_TABLES: &str = "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = 'stream'";
const STREAM: &str = "SELECT backend_id, closed FROM stream";
const TAIL: &str = "SELECT end AS number FROM log ORDER BY end DESC LIMIT 1";
const MERGED: &str = "SELECT end AS number FROM log WHERE merged = 1 ORDER BY end DESC LIMIT 1";
const PUT: &str = "INSERT OR REPLACE INTO log (end, merged, body) VALUES (?, ?, ?)";
const TIDY: &str = "DELETE FROM log WHERE end IN (SELECT end FROM log ORDER BY end LIMIT 64)";
const LAST_MERGED_BEFORE_TAIL: &str = "SELECT end AS number FROM log
    WHERE merged = 1 AND end < (SELECT MAX(end) FROM log) ORDER BY end DESC LIMIT 1";

// These queries bound their bytes themselves, and are read to their ends. A cursor that is left open keeps SQLite from
// moving its write-ahead log into the database, and that log would grow with the store.
const MERGED_AFTER: &str = "SELECT end, body FROM log
    WHERE merged = 1 AND end > ?1 AND end <= ?1 + ?2 AND end < (SELECT MAX(end) FROM log) ORDER BY end";
const ROWS_AFTER: &str = "SELECT end, body FROM log WHERE end > ?1
    AND end <= MAX(?1 + ?2, (SELECT end FROM log WHERE end > ?1 ORDER BY end LIMIT 1)) ORDER BY end LIMIT 256";

/// The bytes of one step of a read, unless its first row is longer.
const STEP_BYTES: usize = 256 << 10;

/// The refusal of an append that the storage has no room for (RFC 4918 §11.5).
const FULL: Refusal = Refusal { status: 507, retry_after: None };

/// The refusal of a batch that no row has room for (RFC 9110 §15.5.14).
pub(crate) const TOO_LARGE: Refusal = Refusal { status: 413, retry_after: None };

/// The digits of an offset: as many as the largest safe integer has. Offsets sort as their places do (protocol §8).
const DIGITS: usize = 16;

/// A store's log in its Sequencer's storage.
pub(crate) struct BuiltInLog {
    storage: Storage,
    sql: SqlStorage,
    stream: RefCell<Option<StreamRow>>,
    leftover: RefCell<Option<Leftover>>,
    tail: Cell<u64>,
    /// How many streams this actor has deleted.
    deletions: Cell<u32>,
    has_tables: Cell<bool>,
    /// Live readers that wait for the next change.
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    /// The most bytes that the storage may take.
    max_bytes: u64,
    has_warned: Cell<bool>,
    bucket: Rc<LogBucket>,
}

/// The stream itself.
#[derive(Clone, Deserialize)]
struct StreamRow {
    backend_id: BackendId,
    closed: u8,
}

/// What a move may have left of this log at the upstream.
#[derive(Clone, Deserialize)]
pub(crate) struct Leftover {
    /// Where the log ended when it left the upstream; `None` for a copy that may be unfinished.
    #[serde(rename = "end_offset")]
    pub(crate) end: Option<Offset>,
}

/// The end of a log that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at: u64,
    pub(crate) closed: bool,
    /// How many streams were deleted before this one. The same place of another stream has other bytes.
    deletions: u32,
}

impl End {
    /// Whether both are ends of one stream.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.deletions == other.deletions
    }
}

impl BuiltInLog {
    pub(crate) fn open(storage: Storage, max_bytes: u64, bucket: Rc<LogBucket>) -> Result<Self> {
        let sql = storage.sql();
        let log = Self {
            stream: RefCell::default(),
            leftover: RefCell::default(),
            tail: Cell::default(),
            deletions: Cell::default(),
            has_tables: Cell::new(count(&sql, COUNT_TABLES)? > 0),
            waiting: RefCell::default(),
            max_bytes,
            has_warned: Cell::default(),
            bucket,
            storage,
            sql,
        };
        if log.has_tables.get() {
            // An earlier build made fewer tables.
            log.sql.exec(SCHEMA, None)?;
            log.leftover.replace(one(&log.sql, "SELECT end_offset FROM leftover")?);
            log.stream.replace(one(&log.sql, STREAM)?);
            log.tail.set(number(&log.sql, TAIL)?.unwrap_or_default());
        }
        if log.end().is_none() {
            log.bucket.forget()?;
        }
        Ok(log)
    }

    /// The end of the log; `None` while there is no stream.
    pub(crate) fn end(&self) -> Option<End> {
        let stream = self.stream.borrow();
        stream.as_ref().map(|stream| End {
            at: self.tail.get(),
            closed: stream.closed != 0,
            deletions: self.deletions.get(),
        })
    }

    /// Lets live readers see a change.
    fn wake(&self) {
        for reader in self.waiting.take() {
            let _ = reader.send(());
        }
    }

    /// Waits for the next change of the log.
    pub(super) fn change(&self) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|reader| !reader.is_canceled());
        waiting.push(wake);
        woken
    }

    /// Performs a request of the core. `scanner` takes the messages of a read.
    pub(super) async fn perform(
        &self,
        request: Request,
        scanner: LogScanner,
        batch: &[u8],
    ) -> UpstreamResult {
        let performed = match (&request, self.end()) {
            (Request::Create, None) => self.create(),
            (Request::Create, Some(_)) => return UpstreamResult::Exists,
            (_, None) => return UpstreamResult::Missing,
            (Request::Check, Some(end)) => {
                return UpstreamResult::Checked(self.backend_id(), tail(end));
            }
            (Request::ReadAll { .. }, Some(end)) => self.scan(0, end, scanner).await,
            (Request::ReadOn { from, .. }, Some(end)) => match place(&from.0) {
                Some(from) if from <= end.at => self.scan(from, end, scanner).await,
                _ => Ok(UpstreamResult::Refused(Refusal { status: 400, retry_after: None })),
            },
            (Request::Append { .. }, Some(End { closed: true, .. })) => {
                return UpstreamResult::Conflict;
            }
            (Request::Append { .. }, Some(_)) => self.append(batch),
            (Request::Close, Some(_)) => self.close(),
            (Request::Delete, Some(_)) => self.delete(),
        };
        if !matches!(request, Request::Check | Request::ReadAll { .. } | Request::ReadOn { .. }) {
            self.wake();
        }
        performed.unwrap_or_else(|error| {
            console_error!("the built-in log failed: {error}");
            UpstreamResult::Failed
        })
    }

    fn create(&self) -> Result<UpstreamResult> {
        let backend_id = new_backend_id();
        let end = self.begin_copy(&backend_id)?;
        self.begin_stream(&backend_id, false)?;
        Ok(UpstreamResult::Created(backend_id, end))
    }

    /// Begins a log that does not exist before [`Self::begin_stream`]. Returns its end behind the header message.
    pub(crate) fn begin_copy(&self, backend_id: &BackendId) -> Result<Offset> {
        if !self.has_tables.get() {
            self.sql.exec(SCHEMA, None)?;
            self.has_tables.set(true);
        }
        self.sql.exec("DELETE FROM log", None)?;
        self.bucket.forget()?;
        self.tail.set(0);
        Ok(offset(self.write(header_message(backend_id).as_bytes(), true)?))
    }

    /// Makes the log exist.
    pub(crate) fn begin_stream(&self, backend_id: &BackendId, closed: bool) -> Result<()> {
        let values = vec![backend_id.0.as_str().into(), integer(closed.into())?];
        let insert = "INSERT INTO stream (only, backend_id, closed) VALUES (1, ?, ?)";
        self.sql.exec(insert, values)?;
        let row = StreamRow { backend_id: backend_id.clone(), closed: closed.into() };
        self.stream.replace(Some(row));
        Ok(())
    }

    /// Hands the log over to the upstream: it no longer exists here. Its rows stay until [`Self::tidy`].
    pub(crate) fn leave(&self) -> Result<()> {
        self.sql.exec("DELETE FROM stream; DELETE FROM leftover;", None)?;
        self.retire();
        // If that fails, the next actor does it.
        let _ = self.bucket.forget();
        Ok(())
    }

    /// Treats the log as deleted. An actor that was replaced must not read what its successor writes.
    pub(crate) fn retire(&self) {
        self.stream.take();
        self.deletions.update(|deletions| deletions + 1);
        self.wake();
    }

    /// Deletes some of the rows that no log needs. Returns whether none is left.
    pub(crate) fn tidy(&self) -> Result<bool> {
        if !self.has_tables.get() || self.end().is_some() {
            return Ok(true);
        }
        self.sql.exec(TIDY, None)?;
        Ok(number(&self.sql, TAIL)?.is_none())
    }

    pub(crate) fn backend_id(&self) -> Option<BackendId> {
        self.stream.borrow().as_ref().map(|stream| stream.backend_id.clone())
    }

    /// What a move may have left of this log at the upstream.
    pub(crate) fn leftover(&self) -> Option<Leftover> {
        self.leftover.borrow().clone()
    }

    /// Records that a move leaves something of this log at the upstream: the log that ends at `end`, or a copy that may
    /// be unfinished.
    pub(crate) fn leaves(&self, end: Option<&Offset>) -> Result<()> {
        let text = end.map_or(SqlStorageValue::Null, |end| end.0.as_str().into());
        let insert = "INSERT OR REPLACE INTO leftover (only, end_offset) VALUES (1, ?)";
        self.sql.exec(insert, vec![text])?;
        self.leftover.replace(Some(Leftover { end: end.cloned() }));
        Ok(())
    }

    /// Records that nothing of this log is left at the upstream.
    pub(crate) fn leaves_nothing(&self) -> Result<()> {
        self.sql.exec("DELETE FROM leftover", None)?;
        self.leftover.take();
        Ok(())
    }

    /// The place behind the header message of such a log.
    pub(crate) fn place_after_header(backend_id: &BackendId) -> u64 {
        // A comma follows it, in place of the array's brackets.
        header_message(backend_id).len() as u64 - 1
    }

    /// The place of an offset; `None` if no built-in log gave it.
    pub(crate) fn place_of(offset: &Offset) -> Option<u64> {
        place(&offset.0)
    }

    /// The room of the log.
    pub(crate) fn room(&self) -> Room {
        Room { bytes: self.sql.database_size() as u64, most: self.max_bytes }
    }

    /// Whether there is room for this many more bytes. Warns once, as soon as the room is scarce.
    fn has_room(&self, bytes: usize) -> bool {
        let room = self.room();
        if room.is_scarce() && !self.has_warned.replace(true) {
            console_warn!(
                "store nearly full: {} of {} bytes are taken (MAX_LOG_BYTES)",
                room.bytes,
                room.most
            );
        }
        room.has(bytes as u64)
    }

    /// Appends a batch, if there is room.
    fn append(&self, batch: &[u8]) -> Result<UpstreamResult> {
        self.append_row(batch, false)
    }

    /// Appends a part of a copy. Its row is long, and never merged.
    pub(crate) fn append_copied(&self, part: &[u8]) -> Result<UpstreamResult> {
        self.append_row(part, true)
    }

    fn append_row(&self, batch: &[u8], merged: bool) -> Result<UpstreamResult> {
        if batch.len() > MAX_ROW {
            return Ok(UpstreamResult::Refused(TOO_LARGE));
        }
        if !self.has_room(batch.len()) {
            return Ok(UpstreamResult::Refused(FULL));
        }
        Ok(UpstreamResult::Appended(offset(self.write(batch, merged)?)))
    }

    /// Writes the elements of a JSON array, and returns the new end.
    fn write(&self, array: &[u8], merged: bool) -> Result<u64> {
        let inner = array.trim_ascii().strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        let inner =
            inner.ok_or_else(|| Error::from("the body of an append is not an array"))?.trim_ascii();
        let mut body = Vec::with_capacity(inner.len() + 1);
        body.extend_from_slice(inner);
        body.push(b',');
        let end = self.tail.get() + body.len() as u64;
        self.put(end, body, merged)?;
        self.tail.set(end);
        Ok(end)
    }

    fn put(&self, end: u64, body: Vec<u8>, merged: bool) -> Result<()> {
        let values = vec![integer(end)?, integer(merged.into())?, body.into()];
        self.sql.exec(PUT, values)?;
        Ok(())
    }

    fn close(&self) -> Result<UpstreamResult> {
        self.sql.exec("UPDATE stream SET closed = 1", None)?;
        if let Some(stream) = self.stream.borrow_mut().as_mut() {
            stream.closed = 1;
        }
        Ok(UpstreamResult::Closed)
    }

    fn delete(&self) -> Result<UpstreamResult> {
        self.sql.exec("DELETE FROM stream; DELETE FROM leftover;", None)?;
        self.leftover.take();
        self.tail.set(0);
        self.retire();
        // If that fails, the next stream or the next actor does it.
        let _ = self.sql.exec("DELETE FROM log", None);
        let _ = self.bucket.forget();
        Ok(UpstreamResult::Deleted)
    }

    /// Merges the rows up to `end`, where a segment ends, into few long ones. A row costs some bytes of its own, and a
    /// reader some time.
    pub(crate) fn merge(&self, end: &Offset) -> Result<()> {
        let Some(end) = place(&end.0) else { return Ok(()) };
        let merged = number(&self.sql, MERGED)?.unwrap_or_default();
        let start = merged.max(self.bucket.end()?);
        let (mut at, mut from, mut body) = (start, start, Vec::new());
        while at < end {
            let rows = self.rows_after(at)?;
            if rows.is_empty() {
                break;
            }
            for (row_end, row) in rows {
                let row = &row[row.len().saturating_sub((row_end - at) as usize)..];
                if !body.is_empty() && body.len() + row.len() > MAX_ROW {
                    self.replace(from, at, std::mem::take(&mut body))?;
                    from = at;
                }
                body.extend_from_slice(row);
                at = row_end;
                if at >= end {
                    break;
                }
            }
        }
        if body.is_empty() { Ok(()) } else { self.replace(from, at, body) }
    }

    /// Moves merged rows to the bucket, if there is one. The last row stays: it tells where the log ends. In an
    /// isolate, one store does so at a time, because each part takes memory.
    pub(crate) async fn shelve(&self) -> Result<()> {
        if !self.bucket.is_bound() {
            return Ok(());
        }
        let Some(permit) = Permit::take() else { return Ok(()) };
        // A failure may have left them.
        self.sql.exec("DELETE FROM log WHERE end <= ?", vec![integer(self.bucket.end()?)?])?;
        while self.end().is_some()
            && let Some((from, to, part)) = self.oldest_part()?
        {
            // If this ends before the object is a part, somebody must delete it.
            self.storage.set_alarm(SWEEP_AGAIN).await?;
            let written = self.bucket.put(part).await?;
            if !self.bucket.record(from, to, written)? {
                break;
            }
            self.sql.exec("DELETE FROM log WHERE end <= ?", vec![integer(to)?])?;
            permit.renew();
        }
        Ok(())
    }

    /// The oldest merged rows, enough for an object. `None` if there are too few.
    fn oldest_part(&self) -> Result<Option<(u64, u64, Vec<u8>)>> {
        let from = self.bucket.end()?;
        let (mut to, mut part) = (from, Vec::new());
        for (end, body) in self.rows(MERGED_AFTER, from, MAX_ROW)? {
            // Rows may overlap.
            part.extend_from_slice(&body[body.len().saturating_sub((end - to) as usize)..]);
            to = end;
        }
        if part.len() as u64 != to - from {
            return Err(format!("the rows from {from} to {to} do not follow one another").into());
        }
        let is_full = number(&self.sql, LAST_MERGED_BEFORE_TAIL)?.is_some_and(|last| last > to);
        let is_enough = part.len() >= MAX_ROW / 2 || (is_full && to > from);
        Ok(is_enough.then_some((from, to, part)))
    }

    /// Puts one row in the place of the rows from `from` to `end`. Each step leaves a whole log, because a failure
    /// undoes only the step that fails: rows that overlap are read as well.
    fn replace(&self, from: u64, end: u64, body: Vec<u8>) -> Result<()> {
        self.put(end, body, true)?;
        let others = vec![integer(from)?, integer(end)?];
        self.sql.exec("DELETE FROM log WHERE end > ? AND end < ?", others)?;
        Ok(())
    }

    /// The rows that end behind `at`, as many as one step takes, and where each ends.
    fn rows_after(&self, at: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        self.rows(ROWS_AFTER, at, STEP_BYTES)
    }

    /// The rows of a query that takes a place and a number of bytes.
    fn rows(&self, query: &str, at: u64, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let values = vec![integer(at)?, integer(bytes as u64)?];
        self.sql.exec(query, values)?.raw().map(|row| end_and_body(row?)).collect()
    }

    /// The bytes from `at` on, as many as one step takes, but none behind `end`. They end with the comma behind a message.
    pub(crate) async fn bytes(&self, at: u64, end: End) -> Result<Vec<u8>> {
        let gone = || Error::from("the log was deleted during the read");
        let is_there = || self.end().is_some_and(|now| now.is_of(&end));
        if !is_there() {
            return Err(gone());
        }
        let rows = match self.bucket.part_at(at)? {
            None => self.rows_after(at)?,
            Some(part) => {
                let body = self.bucket.read(&part).await;
                if !is_there() {
                    return Err(gone());
                }
                vec![(part.end, body?)]
            }
        };
        let (mut bytes, mut next) = (Vec::new(), at);
        for (row_end, row) in rows {
            let start = row_end.checked_sub(row.len() as u64).filter(|start| *start <= next);
            let start = start.ok_or_else(gone)?;
            // Rows may overlap.
            let until = row_end.min(end.at).max(next);
            bytes.extend_from_slice(&row[(next - start) as usize..(until - start) as usize]);
            next = until;
        }
        if bytes.is_empty() { Err(gone()) } else { Ok(bytes) }
    }

    /// Waits until everything that was written is on disk. The runtime holds back answers until then, but not the
    /// further bytes of an answer that has begun.
    pub(super) async fn durable(&self) -> Result<()> {
        self.storage.sync().await
    }

    async fn scan(&self, from: u64, end: End, mut scanner: LogScanner) -> Result<UpstreamResult> {
        let mut splitter = MessageSplitter::default();
        let mut at = from;
        let mut result = splitter.feed(b"[", |_| {});
        while at < end.at && result.is_ok() {
            let mut bytes = self.bytes(at, end).await?;
            at += bytes.len() as u64;
            if at == end.at {
                // The last comma.
                bytes.pop();
            }
            result = splitter.feed(&bytes, |message| scanner.message(message));
        }
        let result = result.and_then(|()| splitter.feed(b"]", |message| scanner.message(message)));
        Ok(match result.and_then(|()| splitter.finish()) {
            Ok(()) => UpstreamResult::Read(scanner.finish(), tail(end)),
            Err(_) => UpstreamResult::Unreadable,
        })
    }
}

/// The permission to move rows to the bucket. It ends by itself, because the runtime may end a request without dropping
/// anything of it.
struct Permit {
    until_ms: Cell<u64>,
}

/// How long one part may take.
const PERMIT_FOR: Duration = Duration::from_mins(2);

thread_local! {
    /// When the permit that is taken ends, in milliseconds since 1970.
    static TAKEN_UNTIL_MS: Cell<u64> = Cell::default();
}

impl Permit {
    fn take() -> Option<Self> {
        if now_ms() < TAKEN_UNTIL_MS.get() {
            return None;
        }
        let permit = Self { until_ms: Cell::default() };
        permit.renew();
        Some(permit)
    }

    fn renew(&self) {
        self.until_ms.set(now_ms() + as_ms(PERMIT_FOR));
        TAKEN_UNTIL_MS.set(self.until_ms.get());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if TAKEN_UNTIL_MS.get() == self.until_ms.get() {
            TAKEN_UNTIL_MS.set(0);
        }
    }
}

fn tail(end: End) -> Tail {
    Tail { offset: offset(end.at), closed: end.closed }
}

/// The offset of a place.
pub(super) fn offset(place: u64) -> Offset {
    Offset(format!("{place:0DIGITS$}"))
}

/// The place of an offset; `None` if the log gave no such offset.
pub(super) fn place(offset: &str) -> Option<u64> {
    if offset == Offset::START {
        return Some(0);
    }
    let is_place = offset.len() == DIGITS && offset.bytes().all(|byte| byte.is_ascii_digit());
    offset.parse().ok().filter(|_| is_place)
}

fn end_and_body(row: Vec<SqlStorageValue>) -> Result<(u64, Vec<u8>)> {
    match <[SqlStorageValue; 2]>::try_from(row) {
        Ok([SqlStorageValue::Integer(end), SqlStorageValue::Blob(body)]) => Ok((end as u64, body)),
        _ => Err("a row of the log has other columns than expected".into()),
    }
}
