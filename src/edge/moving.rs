//! Moving a store's log to another place, and restoring one.

use headwater_core::log::{LogPart, LogPlace};
use headwater_core::problem::Problem;
use headwater_core::sequencer::call::{Ask, MoveAnswer};
use worker::{Request, Response};

use super::body::collect;
use super::context::StoreContext;
use super::{sequencer_client, tip_cache};
use crate::failure::Failure;
use crate::isolate::{TimedOut, within};

/// The most bytes of one part of a restore.
const MAX_PART: usize = 4 << 20;

/// Copies a part of the store's log to another place. The caller repeats the request until it is done.
pub(super) async fn move_to(ctx: &StoreContext<'_>, to: LogPlace) -> Result<Response, Failure> {
    respond(ctx, sequencer_client::ask(ctx, Ask::Move(to), None).await?)
}

/// Takes a part of a log that is restored.
pub(super) async fn restore(
    ctx: &StoreContext<'_>,
    part: LogPart,
    request: &mut Request,
) -> Result<Response, Failure> {
    let timeout = ctx.settings.body_timeout;
    let body = within(timeout, Box::pin(collect(request.stream()?, MAX_PART))).await;
    let messages = match body {
        Ok(body) => body?.ok_or_else(|| Problem::too_large(MAX_PART))?,
        Err(TimedOut) => return Err(Problem::too_slow(timeout.as_secs_f64()).into()),
    };
    respond(ctx, sequencer_client::ask(ctx, Ask::Restore(part), Some((messages, None))).await?)
}

fn respond(ctx: &StoreContext<'_>, moved: MoveAnswer) -> Result<Response, Failure> {
    match moved {
        MoveAnswer::Progress(progress) => {
            if progress.done {
                tip_cache::forget(ctx.store);
            }
            let response = Response::from_json(&progress)?;
            response.headers().set("cache-control", "no-store")?;
            Ok(response)
        }
        refusal => Err(refusal.problem().unwrap_or_else(Problem::internal).into()),
    }
}
