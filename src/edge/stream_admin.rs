//! `HEAD`, `PUT`, `DELETE`, archiving and adoption: the stream as a whole.

use headwater_core::event::{BackendId, Offset, Position};
use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use headwater_core::sequencer::{Answer, Need, Op};
use worker::{Error, Response};

use super::context::StoreContext;
use super::{reply, sequencer_client};
use crate::failure::Failure;
use crate::upstream::Metadata;

/// Serves the verbs that concern the stream as a whole:
///
/// - [`Verb::Head`]: the end of the log, as the upstream has it now (protocol §5.5). A store without a stream has the
///   head 0.
/// - [`Verb::Create`]: creates the stream if it does not exist; 201 if it did not (protocol §5.1). `means_closed`: the
///   request means a stream that is closed, and creates none.
/// - [`Verb::Reset`]: deletes the stream and begins a new incarnation.
/// - [`Verb::Close`]: closes the stream for good.
/// - [`Verb::Delete`]: deletes the stream of the address for good.
/// - [`Verb::Adopt`]: takes the log that the upstream has now for the store's log.
pub(super) async fn serve(
    ctx: &StoreContext<'_>,
    verb: Verb,
    means_closed: bool,
) -> Result<Response, Failure> {
    if let (Verb::Delete, Some(backend_id)) = (&verb, ctx.incarnation) {
        return delete(ctx, backend_id.clone()).await;
    }
    if verb == Verb::Close && ctx.incarnation.is_some() {
        // The Sequencer knows the backend id only, which a log keeps when it moves.
        let start = Position::Offset(Offset(Offset::START.into()));
        let told = sequencer_client::told_now(ctx, &start).await?;
        ctx.check_incarnation(told.tip.as_ref().map(|known| &known.tip))?;
    }
    let op = match verb {
        Verb::Reset => Op::Reset,
        Verb::Close => Op::Close(ctx.incarnation.cloned()),
        Verb::Adopt => Op::Adopt,
        // An incarnation that has ended does not come back.
        Verb::Create if !means_closed && ctx.incarnation.is_none() => Op::Ensure,
        _ => Op::Look(Need::Fresh),
    };
    let answer = sequencer_client::answer(ctx, op).await?;
    if let Answer::Tip(tip) = &answer {
        ctx.check_incarnation(tip.as_ref())?;
    }
    // A catch-up serves the log of a halted store as long as the upstream has it. Therefore `HEAD` describes that log.
    let log = match &answer {
        Answer::Halted(..) if verb == Verb::Head && ctx.incarnation.is_none() => {
            ctx.stream()?.metadata().await.ok().filter(|log| log.is_json)
        }
        _ => None,
    };
    respond(ctx, &verb, means_closed, answer, log)
}

/// `log` is what the upstream has in the place of a halted store's log.
fn respond(
    ctx: &StoreContext<'_>,
    verb: &Verb,
    means_closed: bool,
    answer: Answer,
    log: Option<Metadata>,
) -> Result<Response, Failure> {
    match (verb, answer, log) {
        (Verb::Create, Answer::Tip(Some(tip)), _) if tip.closed == means_closed => {
            Ok(reply::created(ctx.url, &tip)?)
        }
        (Verb::Create, Answer::Tip(_), _) if means_closed => {
            let why = "the store is open. Push its events, and then close it by a POST with Stream-Closed.";
            Err(Problem::unmet_header(409, "stream-closed", why).into())
        }
        // Protocol §5.1: a closed stream is one of another configuration.
        (Verb::Create, Answer::Tip(Some(tip)), _) => {
            Err(Answer::Closed(tip).problem().unwrap_or_else(Problem::internal).into())
        }
        (Verb::Head, Answer::Tip(Some(tip)), _) => {
            let response = reply::described(200, &tip)?;
            ctx.identify(response.headers(), &tip)?;
            Ok(response)
        }
        (Verb::Head, Answer::Tip(None), _) => Ok(reply::no_stream()?),
        (Verb::Head, answer, Some(log)) => Ok(reply::unvouched(&log, answer.problem().as_ref())?),
        (Verb::Reset | Verb::Close, Answer::Tip(Some(tip)), _) => Ok(reply::tip(204, &tip)?),
        (Verb::Close, Answer::Tip(None), _) => Err(Problem::no_stream().into()),
        (Verb::Adopt, Answer::Tip(None), _) => Err(Problem::nothing_to_adopt().into()),
        (_, Answer::Tip(Some(tip)), _) => Ok(reply::tip(200, &tip)?),
        (_, answer, _) => Err(match answer.problem() {
            Some(problem) => problem.into(),
            None => Error::from("the Sequencer's answer has no tip").into(),
        }),
    }
}

/// Deletes the stream of the address for good.
async fn delete(ctx: &StoreContext<'_>, backend_id: BackendId) -> Result<Response, Failure> {
    match sequencer_client::call(ctx, Op::Delete(backend_id)).await? {
        Answer::Deleted => Ok(Response::empty()?.with_status(204)),
        _ => Err(Problem::no_stream().into()),
    }
}
