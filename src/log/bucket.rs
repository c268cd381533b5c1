//! The older parts of a built-in log, as objects of an R2 bucket.
//!
//! An object has the bytes of rows that will not change any more. It is written and read back before its rows go, and it is recorded in the
//! step that deletes them. Therefore a reader finds each part in one of the two places at any moment. The key of an object is
//! noted as unneeded before the object exists, and from the moment when nobody needs it, so that no object is forgotten.

use std::cell::Cell;

use serde::Deserialize;
use worker::{Bucket, Error, Result, SqlStorage, SqlStorageValue};

use super::built_in::{Number, integer, one};
use super::random_uuid;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS object (
        end INTEGER PRIMARY KEY,
        start INTEGER NOT NULL,
        key TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS unneeded (
        key TEXT PRIMARY KEY,
        is_deleting INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;";

const COUNT_TABLES: &str = "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = 'object'";
const AFTER: &str = "SELECT end, start, key FROM object WHERE end > ? ORDER BY end LIMIT 1";
const LAST: &str = "SELECT end AS number FROM object ORDER BY end DESC LIMIT 1";
const FORGET: &str = "
    INSERT OR IGNORE INTO unneeded (key) SELECT key FROM object;
    DELETE FROM object;
    UPDATE unneeded SET is_deleting = 1;";
const NOTE: &str = "INSERT INTO unneeded (key) VALUES (?)";
const UNNEEDED: &str = "SELECT key FROM unneeded LIMIT 1";
const TAKE: &str = "DELETE FROM unneeded WHERE key = ? AND is_deleting = 0 RETURNING key";
const BEGIN_DELETING: &str = "UPDATE unneeded SET is_deleting = 1 WHERE key = ?";
const DELETED: &str = "DELETE FROM unneeded WHERE key = ?";
const RECORD: &str = "INSERT INTO object (end, start, key) VALUES (?, ?, ?)";

/// A part of a log in the bucket.
#[derive(Deserialize)]
pub(super) struct Part {
    pub(super) end: u64,
    pub(super) start: u64,
    key: String,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

/// The objects of one store.
pub(crate) struct LogBucket {
    sql: SqlStorage,
    /// `None` if the deployment has no bucket.
    bucket: Option<Bucket>,
    /// The store's encoded path, with which its keys begin.
    path: String,
    has_tables: Cell<bool>,
}

impl LogBucket {
    pub(crate) fn new(sql: SqlStorage, bucket: Option<Bucket>, path: &str) -> Self {
        Self { sql, bucket, path: path.into(), has_tables: Cell::default() }
    }

    /// Whether there are tables. An earlier actor of the store may make them at any time.
    fn has_tables(&self) -> Result<bool> {
        if !self.has_tables.get() {
            let tables = one::<Number>(&self.sql, COUNT_TABLES)?;
            self.has_tables.set(tables.is_some_and(|row| row.number > 0));
        }
        Ok(self.has_tables.get())
    }

    pub(super) fn is_bound(&self) -> bool {
        self.bucket.is_some()
    }

    fn bound(&self) -> Result<&Bucket> {
        let error = || Error::from("a part of the log is in a bucket, and LOG_BUCKET is not bound");
        self.bucket.as_ref().ok_or_else(error)
    }

    /// Where the parts end; 0 if there are none.
    pub(super) fn end(&self) -> Result<u64> {
        if !self.has_tables()? {
            return Ok(0);
        }
        Ok(one::<Number>(&self.sql, LAST)?.map_or(0, |row| row.number))
    }

    /// The part that ends first behind a place.
    pub(super) fn part_after(&self, place: u64) -> Result<Option<Part>> {
        if !self.has_tables()? {
            return Ok(None);
        }
        let parts: Vec<Part> = self.sql.exec(AFTER, vec![integer(place)?])?.to_array()?;
        Ok(parts.into_iter().next())
    }

    pub(super) async fn read(&self, part: &Part) -> Result<Vec<u8>> {
        let bytes = self.get(&part.key).await?;
        bytes
            .filter(|bytes| bytes.len() as u64 == part.end - part.start)
            .ok_or_else(|| Error::from(format!("the object {} is not what it was", part.key)))
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(object) = self.bound()?.get(key).execute().await? else { return Ok(None) };
        let Some(body) = object.body() else { return Ok(None) };
        body.bytes().await.map(Some)
    }

    /// Writes an object that nobody needs yet, and reads it back. Returns its key.
    pub(super) async fn put(&self, bytes: Vec<u8>) -> Result<String> {
        if !self.has_tables.replace(true) {
            self.sql.exec(SCHEMA, None)?;
        }
        let key = format!("{}/{}", self.path, random_uuid());
        self.sql.exec(NOTE, vec![key.as_str().into()])?;
        self.bound()?.put(&key, bytes.clone()).execute().await?;
        match self.get(&key).await? {
            Some(stored) if stored == bytes => Ok(key),
            _ => Err(format!("the object {key} is not what was written").into()),
        }
    }

    /// Records that an object is the next part of the log. Returns false if it is not: an actor that was replaced may still be at work, and
    /// the log may be gone meanwhile.
    pub(super) fn record(&self, start: u64, end: u64, key: &str) -> Result<bool> {
        if self.end()? != start {
            return Ok(false);
        }
        let taken: Vec<Key> = self.sql.exec(TAKE, vec![key.into()])?.to_array()?;
        if taken.is_empty() {
            return Ok(false);
        }
        let values: Vec<SqlStorageValue> = vec![integer(end)?, integer(start)?, key.into()];
        self.sql.exec(RECORD, values)?;
        Ok(true)
    }

    /// Records that the log is gone, and needs no object.
    pub(super) fn forget(&self) -> Result<()> {
        if self.has_tables()? {
            self.sql.exec(FORGET, None)?;
        }
        Ok(())
    }

    /// Deletes the objects that nobody needs.
    pub(crate) async fn sweep(&self) -> Result<()> {
        while self.has_tables()?
            && let Some(Key { key }) = one(&self.sql, UNNEEDED)?
        {
            let name = || vec![key.as_str().into()];
            self.sql.exec(BEGIN_DELETING, name())?;
            self.bound()?.delete(&key).await?;
            self.sql.exec(DELETED, name())?;
        }
        Ok(())
    }
}
