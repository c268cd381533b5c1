//! Calls to a store's Sequencer.

use headwater_core::event::Position;
use headwater_core::problem::Problem;
use headwater_core::sequencer::call::{
    Ask, CALL_HEADER, Call, Inspection, LEASE_HEADER, Located, ReadStart, VERSION,
};
use headwater_core::sequencer::{Answer, Need, Op};
use serde::de::DeserializeOwned;
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Headers, Method, Request, RequestInit, ResponseBody, Stub, console_error, web_sys};

use super::context::{Failure, StoreRequest};
use super::tip_cache::{self, KnownTip};
use crate::lease::Lease;
use crate::settings::SEQUENCER_BINDING;
use crate::upstream::{NoAnswer, within};

/// The tip of the store: a recent one that is remembered, else the Sequencer's. Together with the Sequencer's comes the place
/// of a position, for a reader that needs it. The Sequencer answers at once, and looks at the log afterwards if a reader
/// has found reason to; no read waits for that. The tip is `None` while the store has no stream, or while the Sequencer
/// can't tell.
pub async fn tip(
    on: &StoreRequest<'_>,
    position: Option<Position>,
) -> Result<(Option<KnownTip>, Option<Located>), Failure> {
    let remembered = tip_cache::get(on.store);
    let need = match &remembered {
        Some((known, true)) => return Ok((Some(known.clone()), None)),
        Some((known, false)) => known.need.clone(),
        None => Need::Known,
    };
    let (answer, located) = ask_tip(on, need, position).await;
    let tip = match (answer, remembered) {
        (Ok(answer @ Answer::Tip(_)), _) => {
            tip_cache::learn(on.store, &answer);
            tip_cache::get(on.store).map(|(known, _)| known)
        }
        // An old tip is better than none, and good for as long again: no other read need wait for this.
        (Ok(_) | Err(Failure::Problem(_)), Some((known, _))) => {
            tip_cache::keep(on.store, known.clone());
            Some(known)
        }
        (Ok(_) | Err(Failure::Problem(_)), None) => None,
        (Err(error), _) => return Err(error),
    };
    Ok((tip, located))
}

async fn ask_tip(
    on: &StoreRequest<'_>,
    need: Need,
    position: Option<Position>,
) -> (Result<Answer, Failure>, Option<Located>) {
    if let Some(position) = position {
        match answer(on, Ask::Read(need.clone(), position), None).await {
            Err(failure) => return (Err(failure), None),
            Ok(text) => {
                if let Ok(ReadStart { answer, located }) = serde_json::from_str(&text) {
                    return (Ok(answer), Some(located));
                }
            }
        }
    }
    // A live read, or a Sequencer of an older build.
    (ask(on, Ask::Look(need), None).await, None)
}

/// Has the Sequencer do something. A refusal comes back as its [`Problem`].
pub async fn call(on: &StoreRequest<'_>, op: Op) -> Result<Answer, Failure> {
    told(on, ask(on, Ask::Op(op), None).await?)
}

/// Has it take a push, with its batch and the lease on the memory that this takes.
pub async fn push(
    on: &StoreRequest<'_>,
    op: Op,
    batch: Vec<u8>,
    lease: &Lease,
) -> Result<Answer, Failure> {
    told(on, ask(on, Ask::Op(op), Some((batch, lease))).await?)
}

fn told(on: &StoreRequest<'_>, answer: Answer) -> Result<Answer, Failure> {
    tip_cache::learn(on.store, &answer);
    match answer.problem() {
        Some(problem) => Err(problem.into()),
        None => Ok(answer),
    }
}

/// The place of a position in the index.
pub async fn locate(on: &StoreRequest<'_>, position: Position) -> Result<Located, Failure> {
    ask(on, Ask::Locate(position), None).await
}

/// What an inspector shows.
pub async fn inspect(on: &StoreRequest<'_>) -> Result<Inspection, Failure> {
    ask(on, Ask::Inspect, None).await
}

async fn ask<A: DeserializeOwned>(
    on: &StoreRequest<'_>,
    ask: Ask,
    batch: Option<(Vec<u8>, &Lease)>,
) -> Result<A, Failure> {
    let text = answer(on, ask, batch).await?;
    serde_json::from_str(&text).map_err(|error| no_answer(&error.to_string()))
}

/// The answer as it came; apart from [`ask`], so that it is in the module once.
async fn answer(
    on: &StoreRequest<'_>,
    ask: Ask,
    batch: Option<(Vec<u8>, &Lease)>,
) -> Result<String, Failure> {
    let path = on.store.as_str();
    let call = serde_json::to_string(&Call { version: VERSION, path: path.into(), ask })
        .map_err(worker::Error::from)?;
    let headers = Headers::new();
    headers.set(CALL_HEADER, &call)?;
    if let Some((_, lease)) = &batch {
        headers.set(LEASE_HEADER, &lease.name())?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_headers(headers)
        // Of many that wait at once the runtime has a copy, the Sequencer has one, and here is none.
        .with_body(batch.map(|(bytes, _)| Uint8Array::from(bytes.as_slice()).into()));
    let request = Request::new_with_init("http://sequencer/", &init)?;
    let object = on.env.durable_object(SEQUENCER_BINDING)?.get_by_name(path)?;
    #[cfg(feature = "failpoints")]
    crate::failpoints::at("edge-before-call");
    // Of an object that is overloaded, restarting or broken, or does not answer, nobody knows what it did.
    let answer = within(on.settings.upstream.patience(), Box::pin(fetch(&object, request))).await;
    #[cfg(feature = "failpoints")]
    crate::failpoints::at("edge-after-call");
    let failure = match answer {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error.to_string(),
        Err(NoAnswer) => "out of patience".into(),
    };
    Err(no_answer(&failure))
}

fn no_answer(failure: &str) -> Failure {
    console_error!("the Sequencer did not answer: {failure}");
    Problem::unavailable().into()
}

async fn fetch(object: &Stub, request: Request) -> worker::Result<String> {
    let response = object.fetch_with_request(request).await?;
    let ResponseBody::Stream(body) = response.body() else {
        return Err("an answer has no body".into());
    };
    // The runtime collects the bytes in one step, where the worker crate would go back and forth for each chunk.
    let text = web_sys::Response::new_with_opt_readable_stream(Some(body))?.text()?;
    Ok(JsFuture::from(text).await?.as_string().unwrap_or_default())
}
