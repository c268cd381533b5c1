//! What a Sequencer stores: one row a push, which is both the head and the index of the log, and the
//! backend id. No event data; losing all of it is safe, because the log says it all again.

use serde::Deserialize;
use worker::{Result, SqlStorage, SqlStorageValue};

use super::core::Tip;
use crate::event::{BackendId, Fingerprint, Offset, SeqNum};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS backend (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        backend_id TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS append (
        last_seq INTEGER PRIMARY KEY,
        end_offset TEXT NOT NULL,
        events_so_far INTEGER NOT NULL,
        bytes_so_far INTEGER NOT NULL,
        parent INTEGER,
        fingerprint TEXT
    );";

const LAST: &str = "
    SELECT backend_id, last_seq, end_offset, events_so_far, bytes_so_far, parent, fingerprint
    FROM append, backend ORDER BY last_seq DESC LIMIT 1";

/// The rows of one store.
pub struct Rows {
    sql: SqlStorage,
    /// The backend id that is stored, to write it only when it changes.
    backend_id: Option<BackendId>,
}

#[derive(Deserialize)]
struct Row {
    backend_id: BackendId,
    last_seq: SeqNum,
    end_offset: Offset,
    events_so_far: u64,
    bytes_so_far: u64,
    parent: Option<SeqNum>,
    fingerprint: Option<String>,
}

impl Rows {
    /// Opens the storage, creating the tables at the first use of a store.
    pub fn open(sql: SqlStorage) -> Result<Self> {
        sql.exec(SCHEMA, None)?;
        Ok(Self { sql, backend_id: None })
    }

    /// The tip that was recorded last.
    pub fn load(&mut self) -> Result<Option<Tip>> {
        let rows: Vec<Row> = self.sql.exec(LAST, None)?.to_array()?;
        let tip = rows.into_iter().next().map(|row| Tip {
            backend_id: row.backend_id,
            head: row.last_seq,
            offset: row.end_offset,
            events: row.events_so_far,
            bytes: row.bytes_so_far,
            made_by: row.parent.zip(row.fingerprint.as_deref().and_then(Fingerprint::from_hex)),
        });
        self.backend_id = tip.as_ref().map(|tip| tip.backend_id.clone());
        Ok(tip)
    }

    /// Records a tip. The runtime holds back what is sent afterwards until it is durable (the
    /// output gate).
    pub fn record(&mut self, tip: &Tip) -> Result<()> {
        if self.backend_id.as_ref() != Some(&tip.backend_id) {
            self.sql.exec("INSERT OR REPLACE INTO backend VALUES (1, ?)", vec![tip.backend_id.0.as_str().into()])?;
            self.backend_id = Some(tip.backend_id.clone());
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
            parent,
            fingerprint,
        ];
        self.sql.exec("INSERT OR REPLACE INTO append VALUES (?, ?, ?, ?, ?, ?)", values)?;
        Ok(())
    }

    /// Drops everything: it described a stream that is gone.
    pub fn forget(&mut self) -> Result<()> {
        self.sql.exec("DELETE FROM append; DELETE FROM backend;", None)?;
        self.backend_id = None;
        Ok(())
    }
}

fn integer(value: u64) -> Result<SqlStorageValue> {
    SqlStorageValue::try_from_i64(value as i64)
}
