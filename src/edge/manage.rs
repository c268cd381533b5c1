//! `HEAD`, `PUT`, `DELETE` and the adoption: the stream as a whole.

use worker::{Env, Response};

use super::{Failure, lookup, reply};
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::core::{Answer, Need, Op, Tip};

/// `HEAD`: head, tail and backend id, as the upstream has them now. A store without a stream has the head 0.
pub async fn look(env: &Env, store: &StorePath) -> Result<Response, Failure> {
    match tip(env, store, Op::Look(Need::Fresh)).await? {
        Some(tip) => Ok(reply::tip(200, &tip)?),
        None => Ok(reply::no_stream()?),
    }
}

/// `PUT`: makes sure the stream exists; 201 if it did not.
pub async fn ensure(env: &Env, store: &StorePath) -> Result<Response, Failure> {
    let existed = tip(env, store, Op::Look(Need::Fresh)).await?;
    match existed {
        Some(tip) => Ok(reply::tip(200, &tip)?),
        None => created(201, tip(env, store, Op::Ensure).await?),
    }
}

/// `DELETE`: deletes the stream and begins a new backend.
pub async fn reset(env: &Env, store: &StorePath) -> Result<Response, Failure> {
    created(204, tip(env, store, Op::Reset).await?)
}

/// `POST /v1/adopt/…`: takes whatever log the upstream has now for the store's.
pub async fn adopt(env: &Env, store: &StorePath) -> Result<Response, Failure> {
    let tip = tip(env, store, Op::Adopt).await?.ok_or_else(Problem::nothing_to_adopt)?;
    Ok(reply::tip(200, &tip)?)
}

fn created(status: u16, tip: Option<Tip>) -> Result<Response, Failure> {
    let tip = tip.ok_or_else(|| worker::Error::from("a stream was created, but has no tip"))?;
    Ok(reply::tip(status, &tip)?)
}

async fn tip(env: &Env, store: &StorePath, op: Op) -> Result<Option<Tip>, Failure> {
    match lookup::call(env, store, op).await? {
        Answer::Tip(tip) => Ok(tip),
        other => Err(worker::Error::from(format!("a look was answered {other:?}")).into()),
    }
}
