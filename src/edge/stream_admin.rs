//! `HEAD`, `PUT`, `DELETE` and adoption: the stream as a whole.

use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use headwater_core::sequencer::{Answer, Need, Op};
use worker::{Error, Response};

use super::context::StoreContext;
use super::{reply, sequencer_client};
use crate::failure::Failure;

/// Serves the verbs that concern the stream as a whole:
///
/// - [`Verb::Head`]: head, tail and backend id, as the upstream has them now. A store without a stream has the head 0.
/// - [`Verb::Create`]: creates the stream if it does not exist; 201 if it did not.
/// - [`Verb::Reset`]: deletes the stream and begins a new incarnation.
/// - [`Verb::Adopt`]: takes the log that the upstream has now for the store's log.
pub(super) async fn serve(ctx: &StoreContext<'_>, verb: Verb) -> Result<Response, Failure> {
    let op = match verb {
        // An incarnation that has ended does not come back.
        _ if ctx.incarnation.is_some() => Op::Look(Need::Fresh),
        Verb::Reset => Op::Reset,
        Verb::Adopt => Op::Adopt,
        Verb::Create => Op::Ensure,
        _ => Op::Look(Need::Fresh),
    };
    let Answer::Tip(tip) = sequencer_client::call(ctx, op).await? else {
        return Err(Error::from("the Sequencer's answer has no tip").into());
    };
    ctx.check_incarnation(tip.as_ref())?;
    match (verb, tip) {
        (Verb::Reset, Some(tip)) => Ok(reply::tip(204, &tip)?),
        (Verb::Create, Some(tip)) if tip.created => Ok(reply::tip(201, &tip)?),
        (verb, Some(tip)) => {
            let response = reply::tip(200, &tip)?;
            if verb == Verb::Head {
                ctx.identify(response.headers(), &tip)?;
            }
            Ok(response)
        }
        (Verb::Head, None) => Ok(reply::no_stream()?),
        (Verb::Adopt, None) => Err(Problem::nothing_to_adopt().into()),
        (_, None) => Err(Error::from("a stream was created, but has no tip").into()),
    }
}
