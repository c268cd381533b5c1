//! The shard of the upstream that a store's log is on. It is stored, so that another number of shards moves no store.

use std::cell::Cell;

use headwater_core::log::UpstreamUrl;
use worker::{Result, SqlStorage};

use super::built_in::BuiltInLog;
use crate::sql::{count, integer, number};

/// No row means that the log began when the upstream had one server, which is shard 0.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS shard (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        number INTEGER NOT NULL
    );";

const COUNT_TABLES: &str = "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = 'shard'";
const STORED: &str = "SELECT number FROM shard";

/// The shard of one store.
pub(crate) struct Shard {
    sql: SqlStorage,
    number: Cell<u32>,
    stored: Cell<Option<u32>>,
    /// The number that a new log gets; `None` if the upstream is one server.
    of_new: Option<u32>,
}

impl Shard {
    pub(super) fn open(
        sql: SqlStorage,
        url: &UpstreamUrl,
        path: &str,
        log: &BuiltInLog,
        has_index: bool,
    ) -> Result<Self> {
        let of_new = (url.shards() > 1).then(|| url.shard_of(path));
        let stored = if count(&sql, COUNT_TABLES)? > 0 { number(&sql, STORED)? } else { None };
        let stored = stored.map(|number| number as u32);
        let number = match of_new {
            None => 0,
            Some(of_new) => {
                let is_at_upstream = match log.end() {
                    // A move may have left something there.
                    Some(_) => log.leftover().is_some(),
                    None => has_index,
                };
                match stored {
                    Some(number) if is_at_upstream || number < url.shards() => number,
                    None if is_at_upstream => 0,
                    _ => of_new,
                }
            }
        };
        Ok(Self { sql, number: Cell::new(number), stored: Cell::new(stored), of_new })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number.get()
    }

    /// Stores the number of a log that begins. Must come before the upstream keeps anything of it.
    pub(crate) fn begin(&self) -> Result<()> {
        match self.of_new {
            Some(_) => self.store(Some(self.number())),
            None => self.store(None),
        }
    }

    /// Stores the number of a log that is there.
    pub(super) fn find(&self) -> Result<()> {
        match (self.of_new, self.stored.get()) {
            (Some(_), None) => self.store(Some(self.number())),
            _ => Ok(()),
        }
    }

    /// Forgets the number: nothing of the store is at the upstream any more. Returns whether the next log begins on
    /// another shard.
    pub(crate) fn leave(&self) -> Result<bool> {
        self.store(None)?;
        let of_new = self.of_new.unwrap_or_default();
        Ok(self.number.replace(of_new) != of_new)
    }

    fn store(&self, number: Option<u32>) -> Result<()> {
        if number == self.stored.get() {
            return Ok(());
        }
        match number {
            None => self.sql.exec("DELETE FROM shard", None)?,
            Some(number) => {
                self.sql.exec(SCHEMA, None)?;
                let insert = "INSERT OR REPLACE INTO shard (only, number) VALUES (1, ?)";
                self.sql.exec(insert, vec![integer(number.into())?])?
            }
        };
        self.stored.set(number);
        Ok(())
    }
}
