//! Values and rows of the queries to a Durable Object's storage.

use serde::Deserialize;
use worker::{Result, SqlStorage, SqlStorageValue};

#[derive(Deserialize)]
struct Number {
    number: u64,
}

/// The first row of a query without values.
pub(crate) fn one<T: for<'de> Deserialize<'de>>(
    sql: &SqlStorage,
    query: &str,
) -> Result<Option<T>> {
    Ok(sql.exec(query, None)?.to_array()?.into_iter().next())
}

/// The column `number` of a query's first row; `None` if there is no row.
pub(crate) fn number(sql: &SqlStorage, query: &str) -> Result<Option<u64>> {
    Ok(one::<Number>(sql, query)?.map(|row| row.number))
}

/// What a query counts, in its column `number`.
pub(crate) fn count(sql: &SqlStorage, query: &str) -> Result<u64> {
    Ok(number(sql, query)?.unwrap_or_default())
}

/// A number as a value of a query.
pub(crate) fn integer(value: u64) -> Result<SqlStorageValue> {
    SqlStorageValue::try_from_i64(value as i64)
}
