//! The rows of a Sequencer: one for each push, the backend id, the intent to delete the stream, and whether it has direct
//! writers. The rows of pushes are
//! the head and the index of the log. They hold no event data. Losing all rows is safe, because the log says everything
//! again.
//!
//! After a rollback, an older build finds the rows of this one. Therefore tables change by addition only. `append` and
//! `backend` keep their columns. An addition is a new table, or a column with a default, because the `INSERT` of an earlier
//! build does not name that column.

use std::cell::RefCell;

use headwater_core::event::{BackendId, Fingerprint, Offset, Position, SeqNum};
use headwater_core::segments::plan::{Place, Plan};
use headwater_core::sequencer::call::{Incarnation, Stored};
use headwater_core::sequencer::{Before, Recorded, Sealed, Tip};
use serde::Deserialize;
use worker::{Result, SqlStorage, SqlStorageValue};

use crate::sql::{count, integer};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS backend (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        backend_id TEXT NOT NULL,
        index_start TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS append (
        last_seq INTEGER PRIMARY KEY,
        end_offset TEXT NOT NULL,
        events_so_far INTEGER NOT NULL,
        bytes_so_far INTEGER NOT NULL,
        seals INTEGER NOT NULL,
        parent INTEGER,
        fingerprint TEXT
    );
    CREATE INDEX IF NOT EXISTS segment ON append (end_offset) WHERE seals = 1;
    CREATE TABLE IF NOT EXISTS deleting (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        backend_id TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS direct_writer (
        only INTEGER PRIMARY KEY CHECK (only = 1)
    );";

/// Runs before anything else: a read of a store that does not exist must leave nothing behind.
const COUNT_TABLES: &str =
    "SELECT COUNT(*) AS number FROM sqlite_master WHERE name IN ('append', 'backend')";

const LAST: &str = "SELECT * FROM append ORDER BY last_seq DESC LIMIT 1";
const LAST_TWO: &str = "SELECT * FROM append ORDER BY last_seq DESC LIMIT 2";
const IS_DELETING: &str = "SELECT COUNT(*) AS number FROM deleting
    WHERE backend_id = (SELECT backend_id FROM backend)";
const COUNT_DIRECT_WRITERS: &str = "SELECT COUNT(*) AS number FROM direct_writer";
const INSERT_APPEND: &str = "INSERT OR REPLACE INTO append
    (last_seq, end_offset, events_so_far, bytes_so_far, seals, parent, fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?)";

const LAST_SEALING: &str = "SELECT * FROM append WHERE seals = 1 ORDER BY end_offset DESC LIMIT 1";
const LAST_ENDS: &str = "SELECT * FROM append WHERE seals = 1 ORDER BY end_offset DESC LIMIT ?";
const COUNT_ENDS: &str = "SELECT COUNT(*) AS number FROM append WHERE seals = 1";

/// The ends of segments after an offset. Offsets sort as the appends do (protocol §8).
const ENDS_AFTER: &str =
    "SELECT * FROM append WHERE seals = 1 AND end_offset > ? ORDER BY end_offset LIMIT ?";
const FIRST_FROM: &str = "SELECT * FROM append WHERE last_seq >= ? ORDER BY last_seq LIMIT 1";
const AT_EVENT: &str = "SELECT * FROM append WHERE last_seq = ? LIMIT 1";
const UP_TO_EVENT: &str = "SELECT * FROM append WHERE last_seq <= ? ORDER BY last_seq DESC LIMIT 1";

/// The most rows that one transaction waits for.
const MAX_PENDING: usize = 256;

/// How many of the last segments the inspector lists.
const LISTED_SEGMENTS: usize = 200;

/// The rows of one store.
pub(super) struct Rows {
    sql: SqlStorage,
    /// The stored incarnation. The row is written only when it changes.
    incarnation: Option<Incarnation>,
    /// The end of the last segment and the number of segments, once counted.
    counted: RefCell<Option<(Offset, u64)>>,
    /// Whether the intent to delete the stream is stored.
    deleting: bool,
    has_tables: bool,
    /// Whether the store has met a writer that does not push here.
    has_direct_writer: bool,
    /// Tips whose rows are not written yet. Losing them is safe: the log says the same.
    pending: Vec<Tip>,
    /// How many tips may wait for their rows.
    max_pending: usize,
}

#[derive(Deserialize)]
struct Backend {
    backend_id: BackendId,
    index_start: Offset,
}

#[derive(Deserialize)]
struct Row {
    last_seq: SeqNum,
    end_offset: Offset,
    events_so_far: u64,
    bytes_so_far: u64,
    parent: Option<SeqNum>,
    fingerprint: Option<String>,
}

impl Row {
    /// The parent and the fingerprint of the append.
    fn made_by(&self) -> Option<(SeqNum, Fingerprint)> {
        self.parent.zip(self.fingerprint.as_deref().and_then(Fingerprint::from_hex))
    }
}

impl Rows {
    /// Opens the storage. A store without any record has no tables.
    pub(super) fn open(sql: SqlStorage) -> Result<Self> {
        let has_tables = count(&sql, COUNT_TABLES)? > 0;
        let rows = Self {
            sql,
            incarnation: None,
            counted: RefCell::default(),
            deleting: false,
            has_tables,
            has_direct_writer: false,
            pending: Vec::new(),
            max_pending: MAX_PENDING,
        };
        if rows.has_tables {
            rows.sql.exec(SCHEMA, None)?;
        }
        Ok(rows)
    }

    /// Lets no row wait, because a built-in log and its index change in one transaction.
    pub(super) fn write_with_the_log(&mut self) {
        self.max_pending = 1;
    }

    /// Loads the last record.
    pub(super) fn load(&mut self) -> Result<Option<Recorded>> {
        if !self.has_tables {
            return Ok(None);
        }
        let backend: Vec<Backend> =
            self.sql.exec("SELECT backend_id, index_start FROM backend", None)?.to_array()?;
        let last: Vec<Row> = self.sql.exec(LAST_TWO, None)?.to_array()?;
        let mut last = last.into_iter();
        let (Some(backend), Some(row)) = (backend.into_iter().next(), last.next()) else {
            return Ok(None);
        };
        let mut sealed = Sealed::nothing(backend.index_start.clone());
        if let Some(end) = self.row(LAST_SEALING, vec![])? {
            (sealed.offset, sealed.events, sealed.bytes) =
                (end.end_offset, end.events_so_far, end.bytes_so_far);
        }
        self.incarnation = Some(Incarnation {
            backend_id: backend.backend_id.clone(),
            index: backend.index_start,
        });
        self.deleting = count(&self.sql, IS_DELETING)? > 0;
        self.has_direct_writer = count(&self.sql, COUNT_DIRECT_WRITERS)? > 0;
        let tip = Tip {
            backend_id: backend.backend_id,
            made_by: row.made_by(),
            head: row.last_seq,
            offset: row.end_offset,
            events: row.events_so_far,
            bytes: row.bytes_so_far,
            sealed,
            before: last.next().map(|row| Before {
                offset: row.end_offset,
                events: row.events_so_far,
                bytes: row.bytes_so_far,
            }),
            created: false,
            closed: false,
        };
        Ok(Some(Recorded { tip, deleting: self.deleting }))
    }

    /// Records a tip: at once if it begins an incarnation, and else with the next [`flush`](Self::flush).
    pub(super) fn record(&mut self, tip: Tip) -> Result<()> {
        let is_stored = self.incarnation.as_ref() == Some(&Incarnation::of(&tip));
        self.pending.push(tip);
        if is_stored && !self.deleting && self.pending.len() < self.max_pending {
            return Ok(());
        }
        self.flush()
    }

    /// Whether a tip waits for its row.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes the rows of all recorded tips, in one transaction. The runtime holds back later messages until the rows are
    /// durable (the output gate). Therefore a row for each append would delay the next append.
    pub(super) fn flush(&mut self) -> Result<()> {
        for tip in std::mem::take(&mut self.pending) {
            self.write(&tip)?;
        }
        Ok(())
    }

    fn write(&mut self, tip: &Tip) -> Result<()> {
        #[cfg(feature = "failpoints")]
        if crate::failpoints::fires("row") {
            return Err("a failpoint at a row".into());
        }
        self.make_tables()?;
        let incarnation = Incarnation::of(tip);
        if self.incarnation.as_ref() != Some(&incarnation) {
            let values =
                vec![incarnation.backend_id.0.as_str().into(), incarnation.index.0.as_str().into()];
            let insert =
                "INSERT OR REPLACE INTO backend (only, backend_id, index_start) VALUES (1, ?, ?)";
            self.sql.exec(insert, values)?;
            self.incarnation = Some(incarnation);
        }
        if std::mem::take(&mut self.deleting) {
            self.sql.exec("DELETE FROM deleting", None)?;
        }
        let (parent, fingerprint) = match tip.made_by {
            Some((parent, fingerprint)) => (integer(parent)?, fingerprint.to_hex().into()),
            None => (SqlStorageValue::Null, SqlStorageValue::Null),
        };
        let values = vec![
            integer(tip.head)?,
            tip.offset.0.as_str().into(),
            integer(tip.events)?,
            integer(tip.bytes)?,
            integer(tip.seals().into())?,
            parent,
            fingerprint,
        ];
        self.sql.exec(INSERT_APPEND, values)?;
        if let Some((end, count)) = self.counted.get_mut()
            && tip.seals()
            && *end != tip.offset
        {
            (*end, *count) = (tip.offset.clone(), *count + 1);
        }
        Ok(())
    }

    pub(super) fn has_direct_writer(&self) -> bool {
        self.has_direct_writer
    }

    /// Stores that the store has a direct writer.
    pub(super) fn record_direct_writer(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.has_direct_writer, true) {
            self.make_tables()?;
            self.sql.exec("INSERT OR REPLACE INTO direct_writer (only) VALUES (1)", None)?;
        }
        Ok(())
    }

    /// Stores the intent to delete the recorded stream.
    pub(super) fn record_deleting(&mut self) -> Result<()> {
        self.flush()?;
        let Some(incarnation) = &self.incarnation else { return Ok(()) };
        let values = vec![incarnation.backend_id.0.as_str().into()];
        self.sql
            .exec("INSERT OR REPLACE INTO deleting (only, backend_id) VALUES (1, ?)", values)?;
        self.deleting = true;
        Ok(())
    }

    /// Deletes all rows, because they described another incarnation.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.pending.clear();
        if self.has_tables {
            self.sql
                .exec("DELETE FROM append; DELETE FROM backend; DELETE FROM deleting;", None)?;
        }
        (self.incarnation, self.deleting) = (None, false);
        self.counted.take();
        Ok(())
    }

    fn make_tables(&mut self) -> Result<()> {
        if !self.has_tables {
            self.sql.exec(SCHEMA, None)?;
            self.has_tables = true;
        }
        Ok(())
    }

    /// The segments from a position on. `None` if no recorded append ends at the offset.
    pub(super) fn locate(&mut self, position: &Position) -> Result<Option<(Plan, Incarnation)>> {
        self.flush()?;
        let Some(incarnation) = self.incarnation.clone() else { return Ok(None) };
        let place = match position {
            Position::Offset(offset) => self.place_at(offset)?,
            Position::After(seq) => {
                Some(self.row(UP_TO_EVENT, vec![integer(*seq)?])?.map_or(Place::start(), as_place))
            }
        };
        let Some(place) = place else { return Ok(None) };
        let ends = vec![place.offset.0.as_str().into(), integer(Plan::AHEAD as u64)?];
        let ends: Vec<Row> = self.sql.exec(ENDS_AFTER, ends)?.to_array()?;
        Ok(Some((Plan::new(place, ends.into_iter().map(as_place)), incarnation)))
    }

    /// The last sealed segments, and the number of all.
    pub(super) fn segments(&mut self) -> Result<(Vec<Stored>, u64)> {
        self.flush()?;
        if self.incarnation.is_none() {
            return Ok((Vec::new(), 0));
        }
        // One more, because the first listed segment begins at its end.
        let limit = integer(LISTED_SEGMENTS as u64 + 1)?;
        let mut ends: Vec<Row> = self.sql.exec(LAST_ENDS, vec![limit])?.to_array()?;
        let mut at = if ends.len() > LISTED_SEGMENTS { ends.pop().map(as_place) } else { None };
        let segments = ends.into_iter().rev().map(|row| {
            let before = at.take().unwrap_or_else(Place::start);
            let end = at.insert(as_place(row)).clone();
            Stored {
                from: before.offset,
                last: end.head,
                events: end.events.saturating_sub(before.events),
                bytes: end.bytes.saturating_sub(before.bytes),
                end: end.offset,
            }
        });
        let segments: Vec<Stored> = segments.collect();
        let count =
            self.count(segments.last().map_or(Place::start().offset, |last| last.end.clone()))?;
        Ok((segments, count))
    }

    /// The number of segments; the last one ends at `end`. They are counted once, because each costs a row to read.
    fn count(&self, end: Offset) -> Result<u64> {
        let mut counted = self.counted.borrow_mut();
        if let Some((_, count)) = counted.as_ref().filter(|(at, _)| *at == end) {
            return Ok(*count);
        }
        let segments = count(&self.sql, COUNT_ENDS)?;
        *counted = Some((end, segments));
        Ok(segments)
    }

    fn place_at(&self, offset: &Offset) -> Result<Option<Place>> {
        if offset.0 == Offset::START {
            return Ok(Some(Place::start()));
        }
        // Most readers stand at the end.
        match self.row(LAST, vec![])?.map(as_place) {
            Some(last) if *offset < last.offset => Place::find(offset, last.head, |seq| {
                Ok(self.row(FIRST_FROM, vec![integer(seq)?])?.map(as_place))
            }),
            last => Ok(last.filter(|last| last.offset == *offset)),
        }
    }

    /// The end of the append with this last event; `None` if no recorded append ends with it.
    pub(super) fn end_of(&mut self, last: SeqNum) -> Result<Option<Offset>> {
        self.flush()?;
        let row = if self.has_tables { self.row(AT_EVENT, vec![integer(last)?])? } else { None };
        Ok(row.map(|row| row.end_offset))
    }

    fn row(&self, query: &str, values: Vec<SqlStorageValue>) -> Result<Option<Row>> {
        let rows: Vec<Row> = self.sql.exec(query, values)?.to_array()?;
        Ok(rows.into_iter().next())
    }
}

fn as_place(row: Row) -> Place {
    let made_by = row.made_by();
    Place {
        offset: row.end_offset,
        head: row.last_seq,
        events: row.events_so_far,
        bytes: row.bytes_so_far,
        made_by,
    }
}
