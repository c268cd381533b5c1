//! `POST`: checks a batch and hands it to the Sequencer.

use headwater_core::batch::{self, Batch};
use headwater_core::event::BackendId;
use headwater_core::problem::Problem;
use headwater_core::request_log::Entry;
use headwater_core::sequencer::Op;
use worker::{Request, Response};

use super::context::{Failure, StoreRequest};
use super::{inspect, reply, sequencer_client, tip_cache};
use crate::isolate::now;
use crate::lease::{BATCHES, Lease};
use crate::upstream::{NoAnswer, collect, within};

/// Answers a push.
pub async fn push(
    on: &StoreRequest<'_>,
    request: &mut Request,
    entry: &mut Entry,
) -> Result<Response, Failure> {
    let (batch, backend_id, body, lease) = match checked(on, request, entry).await {
        Err(Failure::Problem(refusal)) => return Err(refused(on, None, refusal, entry)),
        checked => checked?,
    };
    if let Some(refusal) = tip_cache::reject_if_stale(on.store, &batch, backend_id.as_ref()) {
        return Err(refused(on, Some(&batch), refusal, entry));
    }
    let answer = sequencer_client::push(on, Op::Push { batch, backend_id }, body, &lease).await;
    entry.waits.lap("sequencer", now());
    let answer = answer?;
    let Some((outcome, tip)) = answer.accepted() else {
        return Err(worker::Error::from("a push was answered as something else").into());
    };
    entry.outcome = outcome;
    Ok(reply::accepted(&batch, tip)?)
}

/// What a request brings, if it is what a push should be, and its part of the isolate's memory.
async fn checked(
    on: &StoreRequest<'_>,
    request: &mut Request,
    entry: &mut Entry,
) -> Result<(Batch, Option<BackendId>, Vec<u8>, Lease), Failure> {
    check_type(request)?;
    let body = body(on, request).await;
    entry.waits.lap("body", now());
    let (body, lease) = body?;
    let batch = batch::check(&body, on.settings.limits).map_err(|error| Problem::from(&error))?;
    entry.brings(&batch);
    Ok((batch, backend_id(request)?, body, lease))
}

/// A refusal of which the Sequencer does not hear.
fn refused(
    on: &StoreRequest<'_>,
    batch: Option<&Batch>,
    refusal: Problem,
    entry: &Entry,
) -> Failure {
    if on.settings.inspector {
        let now = now();
        inspect::count(on.store, now, entry.waits.total(now), batch, &refusal);
    }
    refusal.into()
}

/// What an earlier answer gave: no server makes one that is longer, or not plain ASCII.
fn backend_id(request: &Request) -> Result<Option<BackendId>, Failure> {
    match request.headers().get(reply::BACKEND_ID)? {
        Some(id) if id.len() > 1024 || !id.bytes().all(|b| b.is_ascii_graphic()) => {
            let detail =
                "Livestore-Backend-Id must be one that an earlier answer gave, or left out.";
            Err(Problem::bad_request(reply::BACKEND_ID, detail).into())
        }
        id => Ok(id.map(BackendId)),
    }
}

fn check_type(request: &Request) -> Result<(), Failure> {
    let header = |name| request.headers().get(name).map(Option::unwrap_or_default);
    let (kind, encoding) = (header("content-type")?, header("content-encoding")?);
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::unsupported_media_type(&kind).into());
    }
    if !matches!(encoding.as_str(), "" | "identity") {
        return Err(Problem::unsupported_media_type(&encoding).into());
    }
    Ok(())
}

/// Reads the body, but not beyond its limit, nor for longer than its time: what is longer is cut off there. It is not read
/// at all if the isolate has no memory left for it.
async fn body(on: &StoreRequest<'_>, request: &mut Request) -> Result<(Vec<u8>, Lease), Failure> {
    let settings = on.settings;
    let (max, timeout) = (settings.limits.bytes, settings.body_timeout);
    let announced = request.headers().get("content-length")?.and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(Problem::too_large(max).into());
    }
    let bytes = announced.unwrap_or(max) as u64;
    let lasts = timeout + settings.upstream.patience();
    let lease = Lease::take(&BATCHES, on.store.as_str(), bytes, lasts, settings.in_flight)
        .ok_or_else(|| Problem::overloaded("arriving"))?;
    match within(timeout, Box::pin(whole(request, announced.is_some(), max))).await {
        Ok(Ok(Some(body))) => {
            lease.shrink(body.len() as u64);
            Ok((body, lease))
        }
        Ok(Ok(None)) => Err(Problem::too_large(max).into()),
        Ok(Err(_)) => Err(Problem::bad_request("body", "The body broke off.").into()),
        Err(NoAnswer) => Err(Problem::too_slow(timeout.as_secs_f64()).into()),
    }
}

/// `None` if it is longer than `max`.
async fn whole(
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
