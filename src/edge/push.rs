//! `POST`: checks a batch and hands it to the Sequencer.

use headwater_core::batch::{self, Batch};
use headwater_core::event::{BackendId, Offset, Position};
use headwater_core::problem::Problem;
use headwater_core::request_log::Entry;
use headwater_core::route::is_backend_id;
use headwater_core::sequencer::Op;
use worker::{Request, Response};

use super::body::collect;
use super::context::StoreContext;
use super::{inspect, reply, sequencer_client, tip_cache};
use crate::failure::Failure;
use crate::isolate::{TimedOut, now_ms, within};
use crate::lease::{BATCHES, Lease};

/// Answers a push.
pub(super) async fn push(
    ctx: &StoreContext<'_>,
    request: &mut Request,
    entry: &mut Entry,
) -> Result<Response, Failure> {
    let Checked { batch, backend_id, body, lease } = match check(ctx, request, entry).await {
        Err(Failure::Problem(refusal)) => return Err(refused(ctx, None, refusal, entry)),
        checked => checked?,
    };
    if let Some(refusal) = tip_cache::reject_if_stale(ctx.store, &batch, backend_id.as_ref()) {
        return Err(refused(ctx, Some(&batch), refusal, entry));
    }
    if ctx.incarnation.is_some() {
        // A push to a store without a stream would create one.
        let told = sequencer_client::told_now(ctx, &Position::Offset(Offset(Offset::START.into())))
            .await?;
        ctx.check_incarnation(told.tip.as_ref().map(|known| &known.tip))?;
    }
    let answer = sequencer_client::push(ctx, Op::Push { batch, backend_id }, body, &lease).await;
    entry.waits.lap("sequencer", now_ms());
    let answer = answer?;
    let Some((outcome, tip)) = answer.accepted() else {
        return Err(worker::Error::from("the Sequencer neither accepted nor refused a push").into());
    };
    entry.outcome = outcome;
    Ok(reply::accepted(&batch, tip)?)
}

/// A valid push, with its share of the isolate's memory.
struct Checked {
    batch: Batch,
    backend_id: Option<BackendId>,
    body: Vec<u8>,
    lease: Lease,
}

async fn check(
    ctx: &StoreContext<'_>,
    request: &mut Request,
    entry: &mut Entry,
) -> Result<Checked, Failure> {
    check_content_type(request)?;
    let received = read_body(ctx, request).await;
    entry.waits.lap("body", now_ms());
    let (body, lease) = received?;
    let batch = batch::check(&body, ctx.settings.limits).map_err(|error| Problem::from(&error))?;
    entry.brings(&batch);
    Ok(Checked { batch, backend_id: backend_id(ctx.incarnation, request)?, body, lease })
}

/// Counts a refusal that the Sequencer does not see.
fn refused(
    ctx: &StoreContext<'_>,
    batch: Option<&Batch>,
    refusal: Problem,
    entry: &Entry,
) -> Failure {
    if ctx.settings.inspector {
        let now = now_ms();
        inspect::count_refusal(ctx.store, now, entry.waits.total(now), batch, &refusal);
    }
    refusal.into()
}

/// The backend id that the client believes: the one in the address, or the one in the header.
fn backend_id(
    incarnation: Option<&BackendId>,
    request: &Request,
) -> Result<Option<BackendId>, Failure> {
    let sent = request.headers().get(reply::BACKEND_ID)?;
    let refused = |detail| Err(Problem::bad_request(reply::BACKEND_ID, detail).into());
    match (sent, incarnation) {
        (Some(id), _) if !is_backend_id(&id) => {
            refused("Livestore-Backend-Id must be one that an earlier answer gave, or left out.")
        }
        (Some(id), Some(named)) if id != named.0 => {
            refused("Livestore-Backend-Id must be the one in the address, or left out.")
        }
        (sent, named) => Ok(named.cloned().or(sent.map(BackendId))),
    }
}

fn check_content_type(request: &Request) -> Result<(), Failure> {
    if request.headers().get("content-type")?.is_none() {
        let detail = "A push must have the content type application/json.";
        return Err(Problem::bad_request("content-type", detail).into());
    }
    let encoding = request.headers().get("content-encoding")?.unwrap_or_default();
    match encoding.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(()),
        encoding => Err(Problem::unsupported_media_type(encoding).into()),
    }
}

/// Reads the body. Stops at its size limit and at its time limit, and does not begin if the isolate has no memory left for
/// it.
async fn read_body(
    ctx: &StoreContext<'_>,
    request: &mut Request,
) -> Result<(Vec<u8>, Lease), Failure> {
    let settings = ctx.settings;
    let (max, timeout) = (settings.limits.bytes, settings.body_timeout);
    let announced = request.headers().get("content-length")?.and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(Problem::too_large(max).into());
    }
    let bytes = announced.unwrap_or(max) as u64;
    let duration = timeout + settings.upstream.sequencer_timeout();
    let lease = Lease::take(&BATCHES, ctx.store.as_str(), bytes, duration, settings.in_flight)
        .ok_or_else(|| Problem::overloaded("arriving"))?;
    match within(timeout, Box::pin(receive(request, announced.is_some(), max))).await {
        Ok(Ok(Some(body))) => {
            lease.shrink(body.len() as u64);
            Ok((body, lease))
        }
        Ok(Ok(None)) => Err(Problem::too_large(max).into()),
        Ok(Err(_)) => Err(Problem::bad_request("body", "The body broke off.").into()),
        Err(TimedOut) => Err(Problem::too_slow(timeout.as_secs_f64()).into()),
    }
}

/// The whole body. `None` if it is longer than `max`.
async fn receive(
    request: &mut Request,
    is_announced: bool,
    max: usize,
) -> worker::Result<Option<Vec<u8>>> {
    if is_announced {
        return request.bytes().await.map(Some);
    }
    if request.inner().body().is_none() {
        return Ok(Some(Vec::new()));
    }
    collect(request.stream()?, max).await
}
