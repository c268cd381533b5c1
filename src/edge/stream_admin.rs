//! `HEAD`, `PUT`, `DELETE` and the adoption: the stream as a whole.

use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use headwater_core::sequencer::{Answer, Need, Op};
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
        Verb::Create => Op::Ensure,
        _ => Op::Look(Need::Fresh),
    };
    let Answer::Tip(tip) = sequencer_client::call(on, op).await? else {
        return Err(Error::from("a look was not answered with the tip").into());
    };
    match (verb, tip) {
        (Verb::Reset, Some(tip)) => Ok(reply::tip(204, &tip)?),
        (Verb::Create, Some(tip)) if tip.created => Ok(reply::tip(201, &tip)?),
        (_, Some(tip)) => Ok(reply::tip(200, &tip)?),
        (Verb::Head, None) => Ok(reply::no_stream()?),
        (Verb::Adopt, None) => Err(Problem::nothing_to_adopt().into()),
        (_, None) => Err(Error::from("a stream was created, but has no tip").into()),
    }
}
