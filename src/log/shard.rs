//! The shard of the upstream that a store's log is on. It is stored, so that another number of shards moves no store.

use std::cell::Cell;

use headwater_core::log::UpstreamUrl;
use worker::{Result, SqlStorage};

use super::built_in::{BuiltInLog, Number, integer, one};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS shard (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        number INTEGER NOT NULL
    );";

const COUNT_TABLES: &str = "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = 'shard'";
const STORED: &str = "SELECT number FROM shard";
const COUNT_INDEX_TABLES: &str =
    "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = 'backend'";
const COUNT_LOGS: &str = "SELECT COUNT(*) AS number FROM backend";

/// The shard of one store.
pub(crate) struct Shard {
    sql: SqlStorage,
    number: Cell<u32>,
    /// The number that a new log gets.
    of_new: u32,
    is_sharded: bool,
    /// Whether the row has to be written.
    is_due: Cell<bool>,
}

impl Shard {
    /// Finds the shard. A log that began when the upstream had one server is on shard 0.
    pub(super) fn open(
        sql: SqlStorage,
        url: &UpstreamUrl,
        path: &str,
        log: &BuiltInLog,
    ) -> Result<Self> {
        let count =
            |query| -> Result<u64> { Ok(one::<Number>(&sql, query)?.map_or(0, |row| row.number)) };
        let is_sharded = url.shards() > 1;
        // Nothing of a built-in log is at the upstream, unless a move has left it.
        let begins = log.end().is_some() && log.leftover().is_none();
        let is_stored = is_sharded && !begins && count(COUNT_TABLES)? > 0;
        let stored = if is_stored { one::<Number>(&sql, STORED)? } else { None };
        let of_new = url.shard_of(path);
        let number = match stored {
            Some(row) => row.number as u32,
            None if !is_sharded || begins => of_new,
            None if count(COUNT_INDEX_TABLES)? == 0 || count(COUNT_LOGS)? == 0 => of_new,
            None => 0,
        };
        let is_due = Cell::new(is_sharded && stored.is_none());
        Ok(Self { sql, number: Cell::new(number), of_new, is_sharded, is_due })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number.get()
    }

    /// Chooses anew: nothing of the store is at the upstream any more.
    pub(crate) fn leave(&self) {
        self.number.set(self.of_new);
        self.is_due.set(self.is_sharded);
    }

    /// Stores the number. Must come before anything that the upstream keeps.
    pub(crate) fn keep(&self) -> Result<()> {
        if self.is_due.get() {
            self.sql.exec(SCHEMA, None)?;
            let insert = "INSERT OR REPLACE INTO shard (only, number) VALUES (1, ?)";
            self.sql.exec(insert, vec![integer(self.number().into())?])?;
            self.is_due.set(false);
        }
        Ok(())
    }
}
