//! `HEAD`, `PUT`, `DELETE` and the adoption: the stream as a whole.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use worker::{Env, Error, Response};

use super::route::Verb;
use super::{Failure, lookup, reply};
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::core::{Answer, Need, Op, Tip};

/// Answers what is wanted of the stream as a whole:
///
/// - [`Verb::Look`]: head, tail and backend id, as the upstream has them now. A store without a stream has the head 0.
/// - [`Verb::Ensure`]: makes sure the stream exists; 201 if it did not.
/// - [`Verb::Reset`]: deletes the stream and begins a new backend.
/// - [`Verb::Adopt`]: takes whatever log the upstream has now for the store's.
pub async fn manage(env: &Env, store: &StorePath, verb: Verb) -> Result<Response, Failure> {
    let op = match verb {
        Verb::Reset => Op::Reset,
        Verb::Adopt => Op::Adopt,
        _ => Op::Look(Need::Fresh),
    };
    let found = tip(env, store, op).await?;
    let (status, tip) = match (verb, found) {
        (Verb::Reset, found) => (204, found),
        (Verb::Look, None) => return Ok(reply::no_stream()?),
        (Verb::Adopt, None) => return Err(Problem::nothing_to_adopt().into()),
        (Verb::Ensure, None) => (201, tip(env, store, Op::Ensure).await?),
        (_, found) => (200, found),
    };
    let tip = tip.ok_or_else(|| Error::from("a stream was created, but has no tip"))?;
    Ok(reply::tip(status, &tip)?)
}

/// Boxed, so that it is in the module once.
fn tip<'a>(env: &'a Env, store: &'a StorePath, op: Op) -> LocalBoxFuture<'a, Result<Option<Tip>, Failure>> {
    async move {
        match lookup::call(env, store, op).await? {
            Answer::Tip(tip) => Ok(tip),
            _ => Err(Error::from("a look was not answered with the tip").into()),
        }
    }
    .boxed_local()
}
