//! `HEAD`, `PUT`, `DELETE`, archiving and adoption: the stream as a whole.

use headwater_core::event::BackendId;
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
/// - [`Verb::Close`]: closes the stream for good.
/// - [`Verb::Adopt`]: takes the log that the upstream has now for the store's log.
pub(super) async fn serve(ctx: &StoreContext<'_>, verb: Verb) -> Result<Response, Failure> {
    let op = match verb {
        Verb::Reset => Op::Reset,
        Verb::Close => Op::Close,
        Verb::Adopt => Op::Adopt,
        Verb::Create => Op::Ensure,
        _ => Op::Look(Need::Fresh),
    };
    let Answer::Tip(tip) = sequencer_client::call(ctx, op).await? else {
        return Err(Error::from("the Sequencer's answer has no tip").into());
    };
    match (verb, tip) {
        (Verb::Reset | Verb::Close, Some(tip)) => Ok(reply::tip(204, &tip)?),
        // Protocol §5.1: a closed stream is one of another configuration.
        (Verb::Create, Some(tip)) if tip.closed => {
            Err(Answer::Closed(tip).problem().unwrap_or_else(Problem::internal).into())
        }
        (Verb::Create, Some(tip)) if tip.created => Ok(reply::tip(201, &tip)?),
        (_, Some(tip)) => Ok(reply::tip(200, &tip)?),
        (Verb::Head, None) => Ok(reply::no_stream()?),
        (Verb::Close, None) => Err(Problem::no_stream().into()),
        (Verb::Adopt, None) => Err(Problem::nothing_to_adopt().into()),
        (_, None) => Err(Error::from("a stream was created, but has no tip").into()),
    }
}

/// Deletes the store for good. False if the store has another incarnation than this one, or no stream.
#[expect(dead_code, reason = "the route by incarnation calls it")]
pub(super) async fn delete(ctx: &StoreContext<'_>, backend_id: BackendId) -> Result<bool, Failure> {
    let answer = sequencer_client::ask_op(ctx, Op::Delete(backend_id)).await?;
    match answer {
        Answer::Deleted => Ok(true),
        Answer::Tip(None) | Answer::BackendIdMismatch { .. } => Ok(false),
        refusal => Err(refusal.problem().unwrap_or_else(Problem::internal).into()),
    }
}
