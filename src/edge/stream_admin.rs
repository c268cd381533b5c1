//! `HEAD`, `PUT`, `DELETE`, archiving and adoption: the stream as a whole.

use headwater_core::event::BackendId;
use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use headwater_core::sequencer::{Answer, Need, Op, Tip};
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
/// - [`Verb::Delete`]: deletes the stream of the address for good.
/// - [`Verb::Adopt`]: takes the log that the upstream has now for the store's log.
pub(super) async fn serve(ctx: &StoreContext<'_>, verb: Verb) -> Result<Response, Failure> {
    if let (Verb::Delete, Some(backend_id)) = (&verb, ctx.incarnation) {
        return delete(ctx, backend_id.clone()).await;
    }
    let mut tip = None;
    if ctx.incarnation.is_some() {
        tip = tip_after(ctx, Op::Look(Need::Fresh)).await?;
        ctx.check_incarnation(tip.as_ref())?;
    }
    let op = match verb {
        Verb::Close => Some(Op::Close),
        // An incarnation that has ended does not come back.
        _ if ctx.incarnation.is_some() => None,
        Verb::Reset => Some(Op::Reset),
        Verb::Adopt => Some(Op::Adopt),
        Verb::Create => Some(Op::Ensure),
        _ => Some(Op::Look(Need::Fresh)),
    };
    if let Some(op) = op {
        tip = tip_after(ctx, op).await?;
    }
    ctx.check_incarnation(tip.as_ref())?;
    match (verb, tip) {
        (Verb::Reset | Verb::Close, Some(tip)) => Ok(reply::tip(204, &tip)?),
        // Protocol §5.1: a closed stream is one of another configuration.
        (Verb::Create, Some(tip)) if tip.closed => {
            Err(Answer::Closed(tip).problem().unwrap_or_else(Problem::internal).into())
        }
        (Verb::Create, Some(tip)) if tip.created => Ok(reply::tip(201, &tip)?),
        (verb, Some(tip)) => {
            let response = reply::tip(200, &tip)?;
            if verb == Verb::Head {
                ctx.identify(response.headers(), &tip)?;
            }
            Ok(response)
        }
        (Verb::Head, None) => Ok(reply::no_stream()?),
        (Verb::Close, None) => Err(Problem::no_stream().into()),
        (Verb::Adopt, None) => Err(Problem::nothing_to_adopt().into()),
        (_, None) => Err(Error::from("a stream was created, but has no tip").into()),
    }
}

/// The tip after an operation.
async fn tip_after(ctx: &StoreContext<'_>, op: Op) -> Result<Option<Tip>, Failure> {
    match sequencer_client::call(ctx, op).await? {
        Answer::Tip(tip) => Ok(tip),
        _ => Err(Error::from("the Sequencer's answer has no tip").into()),
    }
}

/// Deletes the stream of the address for good.
async fn delete(ctx: &StoreContext<'_>, backend_id: BackendId) -> Result<Response, Failure> {
    let answer = sequencer_client::ask_op(ctx, Op::Delete(backend_id)).await?;
    match answer {
        Answer::Deleted => Ok(Response::empty()?.with_status(204)),
        Answer::Tip(None) => Err(Problem::no_stream().into()),
        refusal => Err(refusal.problem().unwrap_or_else(Problem::internal).into()),
    }
}
