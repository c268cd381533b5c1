//! The older parts of a built-in log, as objects of an R2 bucket.
//!
//! An object has the bytes of rows that will not change any more. It is written and read back before its rows go, and
//! it is recorded in the step that deletes them. Therefore a reader finds each part in one of the two places at any
//! moment. The key of an object is noted as unneeded before the object exists, and from the moment when nobody needs
//! it, so that no object is forgotten.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use serde::Deserialize;
use worker::{Bucket, Env, Error, Result, SqlStorage, SqlStorageValue, State};

use super::random_uuid;
use crate::isolate::{as_ms, now_ms, within};
use crate::settings::LOG_BUCKET_BINDING;
use crate::sql::{count, integer, number};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS object (
        end INTEGER PRIMARY KEY,
        start INTEGER NOT NULL,
        key TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS unneeded (
        key TEXT PRIMARY KEY,
        is_permanent INTEGER NOT NULL
    ) WITHOUT ROWID;";

const COUNT_TABLES: &str = "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = 'unneeded'";
const AFTER: &str = "SELECT end, start, key FROM object WHERE end > ? ORDER BY end LIMIT 1";
const LAST: &str = "SELECT end AS number FROM object ORDER BY end DESC LIMIT 1";
const FORGET: &str = "
    INSERT OR REPLACE INTO unneeded (key, is_permanent) SELECT key, 1 FROM object;
    DELETE FROM object;
    UPDATE unneeded SET is_permanent = 1;";
const NOTE: &str = "INSERT OR REPLACE INTO unneeded (key, is_permanent) VALUES (?, ?)";
const COUNT_UNNEEDED: &str = "SELECT COUNT(*) AS number FROM unneeded";
const UNNEEDED: &str = "SELECT key FROM unneeded LIMIT 1000";
const TAKE: &str = "DELETE FROM unneeded WHERE key = ? AND is_permanent = 0 RETURNING key";
const DELETED: &str = "DELETE FROM unneeded WHERE key = ?";
const RECORD: &str = "INSERT INTO object (end, start, key) VALUES (?, ?, ?)";

/// How long R2 may take for one operation.
const TIMEOUT: Duration = Duration::from_secs(30);

/// When objects that could not be deleted are tried again.
pub(crate) const SWEEP_AGAIN: Duration = Duration::from_mins(5);

/// How long an object may still arrive whose write failed. Nobody deletes it before.
const IN_FLIGHT_FOR: Duration = Duration::from_mins(4);

thread_local! {
    /// The objects that are being written, or may still arrive, and until when, in milliseconds since 1970. All actors
    /// of a store are in one isolate.
    static IN_FLIGHT: RefCell<HashMap<String, u64>> = RefCell::default();
}

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
    /// The id of the Durable Object, with which its keys begin. A store's names may be longer than a key.
    id: String,
    has_tables: Cell<bool>,
}

/// An object that was written, and that nobody needs until it is [recorded](LogBucket::record).
pub(super) struct Written(String);

impl LogBucket {
    pub(crate) fn of(state: &State, env: &Env) -> Self {
        Self {
            sql: state.storage().sql(),
            bucket: env.bucket(LOG_BUCKET_BINDING).ok(),
            id: state.id().to_string(),
            has_tables: Cell::default(),
        }
    }

    /// Whether there are tables. An earlier actor of the store may make them at any time.
    fn has_tables(&self) -> Result<bool> {
        if !self.has_tables.get() {
            self.has_tables.set(count(&self.sql, COUNT_TABLES)? > 0);
        }
        Ok(self.has_tables.get())
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.bucket.is_some()
    }

    fn bound(&self) -> Result<&Bucket> {
        self.bucket.as_ref().ok_or_else(|| {
            Error::from("the binding LOG_BUCKET is missing. Bind the same bucket again")
        })
    }

    /// Where the parts end; 0 if there are none.
    pub(super) fn end(&self) -> Result<u64> {
        if !self.has_tables()? {
            return Ok(0);
        }
        Ok(number(&self.sql, LAST)?.unwrap_or_default())
    }

    /// The part that has the byte behind a place.
    pub(super) fn part_at(&self, place: u64) -> Result<Option<Part>> {
        if !self.has_tables()? {
            return Ok(None);
        }
        let parts: Vec<Part> = self.sql.exec(AFTER, vec![integer(place)?])?.to_array()?;
        Ok(parts.into_iter().next().filter(|part| part.start <= place))
    }

    pub(super) async fn read(&self, part: &Part) -> Result<Vec<u8>> {
        let bytes = self.get(&part.key).await?;
        bytes.filter(|bytes| bytes.len() as u64 == part.end - part.start).ok_or_else(|| {
            Error::from(format!("the R2 object {} is missing, or has the wrong length", part.key))
        })
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(object) = in_time(self.bound()?.get(key).execute()).await? else {
            return Ok(None);
        };
        let Some(body) = object.body() else { return Ok(None) };
        in_time(body.bytes()).await.map(Some)
    }

    /// Writes an object that nobody needs yet, and reads it back.
    pub(super) async fn put(&self, bytes: Vec<u8>) -> Result<Written> {
        if !self.has_tables()? {
            self.sql.exec(SCHEMA, None)?;
        }
        let key = format!("{}/{}", self.id, random_uuid());
        self.note(&key, false)?;
        let now = now_ms();
        IN_FLIGHT.with_borrow_mut(|keys| {
            keys.retain(|_, until| now < *until);
            keys.insert(key.clone(), now + as_ms(IN_FLIGHT_FOR));
        });
        in_time(self.bound()?.put(&key, bytes.clone()).execute()).await?;
        match self.get(&key).await? {
            Some(stored) if stored == bytes => Ok(Written(key)),
            _ => Err(format!("the R2 object {key} does not read back as it was written").into()),
        }
    }

    fn note(&self, key: &str, is_permanent: bool) -> Result<()> {
        self.sql.exec(NOTE, vec![key.into(), integer(is_permanent.into())?])?;
        Ok(())
    }

    /// Records that an object is the next part of the log. Returns false if it is not: an actor that was replaced may
    /// still be at work, and the log may be gone meanwhile.
    pub(super) fn record(&self, start: u64, end: u64, Written(key): Written) -> Result<bool> {
        IN_FLIGHT.with_borrow_mut(|keys| keys.remove(&key));
        if self.end()? != start {
            return Ok(false);
        }
        let taken: Vec<Key> = self.sql.exec(TAKE, vec![key.as_str().into()])?.to_array()?;
        if taken.is_empty() {
            return Ok(false);
        }
        let values: Vec<SqlStorageValue> =
            vec![integer(end)?, integer(start)?, key.as_str().into()];
        if let Err(error) = self.sql.exec(RECORD, values) {
            self.note(&key, true)?;
            return Err(error);
        }
        Ok(true)
    }

    /// Records that there is no log, and that nobody needs any object.
    pub(super) fn forget(&self) -> Result<()> {
        if self.has_tables()? {
            self.sql.exec(FORGET, None)?;
        }
        Ok(())
    }

    fn unneeded(&self) -> Result<Vec<String>> {
        if !self.has_tables()? {
            return Ok(Vec::new());
        }
        let keys: Vec<Key> = self.sql.exec(UNNEEDED, None)?.to_array()?;
        let now = now_ms();
        Ok(IN_FLIGHT.with_borrow(|in_flight| {
            let may_arrive = |key: &String| in_flight.get(key).is_some_and(|until| now < *until);
            keys.into_iter().map(|row| row.key).filter(|key| !may_arrive(key)).collect()
        }))
    }

    /// Whether no object is noted as unneeded, not even one that may still arrive.
    pub(crate) fn is_swept(&self) -> Result<bool> {
        Ok(!self.has_tables()? || count(&self.sql, COUNT_UNNEEDED)? == 0)
    }

    /// Whether there are objects that nobody needs.
    pub(crate) fn has_unneeded(&self) -> bool {
        self.unneeded().is_ok_and(|keys| !keys.is_empty())
    }

    /// Deletes the objects that nobody needs.
    pub(crate) async fn sweep(&self) -> Result<()> {
        loop {
            let keys = self.unneeded()?;
            if keys.is_empty() {
                return Ok(());
            }
            // From here on, no object among them can become a part.
            for key in &keys {
                self.note(key, true)?;
            }
            let names: Vec<&str> = keys.iter().map(String::as_str).collect();
            in_time(self.bound()?.delete_multiple(names)).await?;
            for key in keys {
                self.sql.exec(DELETED, vec![key.into()])?;
            }
        }
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T>>) -> Result<T> {
    within(TIMEOUT, Box::pin(operation))
        .await
        .unwrap_or_else(|_| Err("the R2 bucket did not answer in time".into()))
}
