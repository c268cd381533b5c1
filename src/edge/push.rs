//! `POST`: checks a batch and hands it to the Sequencer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use futures::stream::StreamExt;
use worker::{Date, Env, Request, Response};

use super::{Failure, lookup, reply};
use crate::batch;
use crate::event::BackendId;
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::core::{Answer, Op};
use crate::settings::Settings;
use crate::upstream::{NoAnswer, within};

/// Answers a push.
pub async fn push(
    request: &mut Request,
    env: &Env,
    settings: &Settings,
    store: &StorePath,
) -> Result<Response, Failure> {
    check_type(request)?;
    let body = body(request, settings, store).await?;
    let batch = batch::check(&body, settings.limits).map_err(|error| Problem::invalid_batch(&error))?;
    let backend_id = backend_id(request)?;
    match lookup::call(env, store, Op::Push { batch, backend_id }, Some(body)).await? {
        Answer::Accepted(tip) => Ok(reply::tip(200, &tip)?),
        other => Err(worker::Error::from(format!("a push was answered {other:?}")).into()),
    }
}

/// What an earlier answer gave: no server makes one that is longer, or not plain ASCII.
fn backend_id(request: &Request) -> Result<Option<BackendId>, Failure> {
    match request.headers().get(reply::BACKEND_ID)? {
        Some(id) if id.len() > 1024 || !id.bytes().all(|b| b.is_ascii_graphic()) => {
            let detail = "Livestore-Backend-Id must be one that an earlier answer gave, or left out.";
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

/// Reads the body, but not beyond its limit, nor for longer than its time: what is longer is cut off there.
async fn body(request: &mut Request, settings: &Settings, store: &StorePath) -> Result<Vec<u8>, Failure> {
    let (max, timeout) = (settings.limits.bytes, settings.body_timeout);
    let announced = request.headers().get("content-length")?.and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(Problem::too_large(max).into());
    }
    let _arrival = Arrival::of(store, settings).ok_or_else(Problem::overloaded)?;
    let body = within(timeout, Box::pin(whole(request, announced.is_some(), max))).await;
    body.unwrap_or_else(|NoAnswer| Err(Problem::too_slow(timeout.as_secs_f64()).into()))
}

async fn whole(request: &mut Request, is_announced: bool, max: usize) -> Result<Vec<u8>, Failure> {
    if is_announced {
        return Ok(request.bytes().await?);
    }
    if request.inner().body().is_none() {
        return Ok(Vec::new());
    }
    let mut body = Vec::new();
    let mut chunks = request.stream()?;
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > max {
            return Err(Problem::too_large(max).into());
        }
    }
    Ok(body)
}

thread_local! {
    /// The bodies that are arriving in this isolate, by store: of each its name and until when it may take.
    static ARRIVING: RefCell<HashMap<StorePath, Vec<(u64, u64)>>> = RefCell::default();
    static LAST_ARRIVAL: Cell<u64> = const { Cell::new(0) };
}

/// One body that is arriving. It counts until it is dropped, or until its time is over: the runtime drops nothing of
/// a request that it ends.
struct Arrival<'s> {
    store: &'s StorePath,
    name: u64,
}

impl<'s> Arrival<'s> {
    /// `None` if too many are arriving for this store, so that no store can fill the isolate's memory with bodies that
    /// never end.
    fn of(store: &'s StorePath, settings: &Settings) -> Option<Self> {
        let now = Date::now().as_millis();
        let until = now + u64::try_from(settings.body_timeout.as_millis()).unwrap_or(u64::MAX - now);
        let name = LAST_ARRIVAL.get() + 1;
        LAST_ARRIVAL.set(name);
        ARRIVING.with_borrow_mut(|all| {
            let arriving = all.entry(store.clone()).or_default();
            arriving.retain(|(_, until)| now < *until);
            (arriving.len() < settings.max_in_flight).then(|| arriving.push((name, until)))
        })?;
        Some(Self { store, name })
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        ARRIVING.with_borrow_mut(|all| {
            let Some(arriving) = all.get_mut(self.store) else { return };
            arriving.retain(|(name, _)| *name != self.name);
            if arriving.is_empty() {
                all.remove(self.store);
            }
        });
    }
}
