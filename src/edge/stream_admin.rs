//! `HEAD`, `PUT`, `DELETE` and the adoption: the stream as a whole.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use headwater_core::sequencer::{Answer, Need, Op, Tip};
use worker::{Error, Response};

use super::context::{Failure, StoreRequest};
use super::{reply, sequencer_client};

/// Serves the verbs that concern the stream as a whole:
///
/// - [`Verb::Head`]: head, tail and backend id, as the upstream has them now. A store without a stream has the head 0.
/// - [`Verb::Create`]: makes sure the stream exists; 201 if it did not.
/// - [`Verb::Reset`]: deletes the stream and begins a new backend.
/// - [`Verb::Adopt`]: takes whatever log the upstream has now for the store's.
pub async fn serve(on: &StoreRequest<'_>, verb: Verb) -> Result<Response, Failure> {
    let op = match verb {
        Verb::Reset => Op::Reset,
        Verb::Adopt => Op::Adopt,
        _ => Op::Look(Need::Fresh),
    };
    let found = tip(on, op).await?;
    let (status, tip) = match (verb, found) {
        (Verb::Reset, found) => (204, found),
        (Verb::Head, None) => return Ok(reply::no_stream()?),
        (Verb::Adopt, None) => return Err(Problem::nothing_to_adopt().into()),
        (Verb::Create, None) => (201, tip(on, Op::Ensure).await?),
        (_, found) => (200, found),
    };
    let tip = tip.ok_or_else(|| Error::from("a stream was created, but has no tip"))?;
    Ok(reply::tip(status, &tip)?)
}

/// Boxed, so that it is in the module once.
fn tip<'r>(on: &'r StoreRequest<'_>, op: Op) -> LocalBoxFuture<'r, Result<Option<Tip>, Failure>> {
    async move {
        match sequencer_client::call(on, op).await? {
            Answer::Tip(tip) => Ok(tip),
            _ => Err(Error::from("a look was not answered with the tip").into()),
        }
    }
    .boxed_local()
}
