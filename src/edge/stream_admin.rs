//! `HEAD`, `PUT`, `DELETE`, the close and the adoption: the stream as a whole.

use headwater_core::problem::Problem;
use headwater_core::route::Verb;
use headwater_core::sequencer::{Answer, Halt, Need, Op};
use worker::{Error, Response};

use super::context::StoreContext;
use super::{reply, sequencer_client};
use crate::failure::Failure;
use crate::upstream::Metadata;

/// Serves the verbs that concern the stream as a whole:
///
/// - [`Verb::Head`]: the end of the log, as the upstream has it now (protocol §5.5). A store without a stream has the head 0.
/// - [`Verb::Create`]: creates the stream if it does not exist; 201 if it did not (protocol §5.1). `means_closed`: the
///   request means a stream that is closed, and creates none.
/// - [`Verb::Reset`]: deletes the stream and begins a new incarnation.
/// - [`Verb::Adopt`]: takes the log that the upstream has now for the store's log.
pub(super) async fn serve(
    ctx: &StoreContext<'_>,
    verb: Verb,
    means_closed: bool,
) -> Result<Response, Failure> {
    let op = match verb {
        Verb::Reset => Op::Reset,
        Verb::Adopt => Op::Adopt,
        Verb::Create if !means_closed => Op::Ensure,
        _ => Op::Look(Need::Fresh),
    };
    let answer = sequencer_client::answer(ctx, op).await?;
    // A catch-up serves the log of a halted store as long as the upstream has it. Therefore `HEAD` describes that log.
    let log = match &answer {
        Answer::Halted(..) if verb == Verb::Head || means_closed => {
            ctx.stream().metadata().await.ok().filter(|log| log.is_json)
        }
        _ => None,
    };
    respond(ctx.url, &verb, means_closed, answer, log)
}

/// `log` is what the upstream has in the place of a halted store's log.
fn respond(
    url: &str,
    verb: &Verb,
    means_closed: bool,
    answer: Answer,
    log: Option<Metadata>,
) -> Result<Response, Failure> {
    let is_closed = match &answer {
        Answer::Tip(tip) => tip.as_ref().is_some_and(|tip| tip.closed),
        answer => matches!(answer, Answer::Halted(Halt::Closed, _)),
    };
    if *verb == Verb::Create && is_closed && !means_closed {
        return Err(Problem::closed().into());
    }
    match (verb, answer, log) {
        (Verb::Create, Answer::Tip(_), _) if means_closed && !is_closed => {
            let why = "the store is open. Push its events, and then close it by a POST with Stream-Closed.";
            Err(Problem::unmet_header(409, "stream-closed", why).into())
        }
        (Verb::Create, Answer::Tip(Some(tip)), _) => Ok(reply::created(url, &tip)?),
        (Verb::Create, _, Some(log)) if is_closed => Ok(reply::unvouched(&log, None)?),
        (Verb::Head, Answer::Tip(Some(tip)), _) => Ok(reply::described(200, &tip)?),
        (Verb::Head, Answer::Tip(None), _) => Ok(reply::no_stream()?),
        (Verb::Head, answer, Some(log)) => Ok(reply::unvouched(&log, answer.problem().as_ref())?),
        (Verb::Reset, Answer::Tip(Some(tip)), _) => Ok(reply::tip(204, &tip)?),
        (_, Answer::Tip(Some(tip)), _) => Ok(reply::tip(200, &tip)?),
        (Verb::Adopt, Answer::Tip(None), _) => Err(Problem::nothing_to_adopt().into()),
        (_, answer, _) => Err(match answer.problem() {
            Some(problem) => problem.into(),
            None => Error::from("the Sequencer's answer has no tip").into(),
        }),
    }
}

/// Closes the store for good: a `POST` with `Stream-Closed: true` and no body (protocol §5.3).
pub(super) fn close(_ctx: &StoreContext<'_>) -> Result<Response, Failure> {
    Err(Problem::unmet_header(501, "stream-closed", "a store can't be closed yet.").into())
}
