//! `POST`: checks a batch and hands it to the Sequencer.

use futures::stream::StreamExt;
use worker::{Env, Request, Response};

use super::{Failure, lookup, reply};
use crate::batch::{self, Limits};
use crate::event::BackendId;
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::core::{Answer, Op};
use crate::settings::Settings;

/// Answers a push.
pub async fn push(
    request: &mut Request,
    env: &Env,
    settings: &Settings,
    store: &StorePath,
) -> Result<Response, Failure> {
    check_type(request)?;
    let body = body(request, settings.limits).await?;
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

/// Reads the body, but not beyond the limit: what is longer is cut off there.
async fn body(request: &mut Request, limits: Limits) -> Result<Vec<u8>, Failure> {
    let announced = request.headers().get("content-length")?.and_then(|n| n.parse::<usize>().ok());
    match announced {
        Some(length) if length > limits.bytes => Err(Problem::too_large(limits.bytes).into()),
        Some(_) => Ok(request.bytes().await?),
        None if request.inner().body().is_none() => Ok(Vec::new()),
        None => {
            let mut body = Vec::new();
            let mut chunks = request.stream()?;
            while let Some(chunk) = chunks.next().await {
                body.extend_from_slice(&chunk?);
                if body.len() > limits.bytes {
                    return Err(Problem::too_large(limits.bytes).into());
                }
            }
            Ok(body)
        }
    }
}
