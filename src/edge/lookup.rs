//! Asks the Sequencer, and remembers for a short while what a read needs of its answer.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::de::DeserializeOwned;
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Date, Env, Headers, Method, Request, RequestInit, ResponseBody, Stub, console_error, web_sys};

use super::Failure;
use crate::batch::Batch;
use crate::event::{BackendId, Offset, SeqNum};
use crate::lease::Lease;
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::call::{Ask, CALL_HEADER, Call, Inspection, LEASE_HEADER, Life, Located, Position, VERSION};
use crate::sequencer::core::{self, Answer, Need, Op, Tip};
use crate::settings::{SEQUENCER_BINDING, Settings};
use crate::upstream::{NoAnswer, within};

/// How long a look-up is good for: reads call the Sequencer once in this time, a store and isolate.
const REMEMBER_MS: u64 = 30_000;

/// Stores remembered at most; beyond it all are forgotten, which costs a call each.
const REMEMBER_STORES: usize = 10_000;

/// What is known of a store, at most [`REMEMBER_MS`] old.
#[derive(Clone)]
pub struct Known {
    /// The end of the log, with whose it is and up to where it is cut into segments.
    pub tip: Tip,
    /// What the Sequencer is to look for when it is asked next.
    need: Need,
}

impl Known {
    /// Whether a segment may begin at the offset, or contain it.
    pub fn is_sealed_at(&self, offset: &Offset) -> bool {
        *offset < self.tip.sealed.offset
    }

    /// What the offsets of its segments mean something in.
    pub fn life(&self) -> Life {
        Life::of(&self.tip)
    }
}

thread_local! {
    /// Of this isolate, keyed by the store's whole path, so that no tenant meets another.
    static REMEMBERED: RefCell<HashMap<StorePath, (u64, Known)>> = RefCell::default();
}

/// Calls a store's Sequencer. A refusal comes back as its [`Problem`].
pub async fn call(env: &Env, store: &StorePath, op: Op) -> Result<Answer, Failure> {
    told(store, ask(env, store, Ask::Op(op), None).await?)
}

/// The same for a push, with its batch and the lease on the memory that this takes.
pub async fn push(env: &Env, store: &StorePath, op: Op, batch: Vec<u8>, lease: &Lease) -> Result<Answer, Failure> {
    told(store, ask(env, store, Ask::Op(op), Some((batch, lease))).await?)
}

fn told(store: &StorePath, answer: Answer) -> Result<Answer, Failure> {
    remember(store, &answer);
    match Problem::from_answer(&answer) {
        Some(problem) => Err(problem.into()),
        None => Ok(answer),
    }
}

/// Asks a store's Sequencer for the place of a position.
pub async fn locate(env: &Env, store: &StorePath, position: Position) -> Result<Located, Failure> {
    ask(env, store, Ask::Locate(position), None).await
}

/// Asks a store's Sequencer for what an inspector shows.
pub async fn inspect(env: &Env, store: &StorePath) -> Result<Inspection, Failure> {
    ask(env, store, Ask::Inspect, None).await
}

async fn ask<A: DeserializeOwned>(
    env: &Env,
    store: &StorePath,
    ask: Ask,
    batch: Option<(Vec<u8>, &Lease)>,
) -> Result<A, Failure> {
    let text = answer(env, store, ask, batch).await?;
    serde_json::from_str(&text).map_err(|error| no_answer(&error.to_string()))
}

/// The answer as it came; apart from [`ask`], so that it is in the module once.
async fn answer(env: &Env, store: &StorePath, ask: Ask, batch: Option<(Vec<u8>, &Lease)>) -> Result<String, Failure> {
    let call = serde_json::to_string(&Call { version: VERSION, path: store.as_str().into(), ask })
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
    let object = env.durable_object(SEQUENCER_BINDING)?.get_by_name(store.as_str())?;
    #[cfg(feature = "panic-drill")]
    crate::drill::at("edge-before-call");
    // An object that is overloaded, restarting or broken, or does not answer: nobody knows what it did.
    let answer = within(Settings::of(env)?.upstream.patience(), Box::pin(fetch(&object, request))).await;
    #[cfg(feature = "panic-drill")]
    crate::drill::at("edge-after-call");
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
    let ResponseBody::Stream(body) = response.body() else { return Err("an answer has no body".into()) };
    // The runtime collects the bytes in one step, where the worker crate would go back and forth for each chunk.
    let text = web_sys::Response::new_with_opt_readable_stream(Some(body))?.text()?;
    Ok(JsFuture::from(text).await?.as_string().unwrap_or_default())
}

/// What is known of a store: from memory, else from the Sequencer. It answers at once, and looks
/// at the log afterwards if a reader has found reason to; no read waits for that. `None` while the store
/// has no stream, or while nobody can tell.
pub async fn known(env: &Env, store: &StorePath) -> Result<Option<Known>, Failure> {
    let remembered = REMEMBERED.with_borrow(|all| all.get(store).cloned());
    let need = match &remembered {
        Some((at, known)) if is_recent(*at) => return Ok(Some(known.clone())),
        Some((_, known)) => known.need.clone(),
        None => Need::Known,
    };
    let answer: Result<Answer, Failure> = ask(env, store, Ask::Look(need), None).await;
    match (answer, remembered) {
        (Ok(answer @ Answer::Tip(_)), _) => {
            remember(store, &answer);
            Ok(REMEMBERED.with_borrow(|all| all.get(store).map(|(_, known)| known.clone())))
        }
        // An old memory is better than none, and good for as long again: nobody else need wait for this.
        (Ok(_) | Err(Failure::Problem(_)), Some((_, known))) => {
            keep(store, known.clone());
            Ok(Some(known))
        }
        (Ok(_) | Err(Failure::Problem(_)), None) => Ok(None),
        (Err(error), _) => Err(error),
    }
}

/// The refusal of a push that needs no Sequencer, since what this isolate remembers is enough: when many write at once,
/// most pushes are of those who have not yet heard of the last one.
pub fn foregone(store: &StorePath, batch: &Batch, backend_id: Option<&BackendId>) -> Option<Problem> {
    REMEMBERED.with_borrow(|all| {
        let (_, known) = all.get(store).filter(|(at, known)| is_recent(*at) && known.need != Need::Fresh)?;
        core::foregone(&known.tip, batch, backend_id).as_ref().and_then(Problem::from_answer)
    })
}

/// How old, in milliseconds, what reads of a store are served by is, and its head.
pub fn memory(store: &StorePath) -> Option<(u64, SeqNum)> {
    REMEMBERED.with_borrow(|all| {
        let (at, known) = all.get(store).filter(|(at, _)| is_recent(*at))?;
        Some((Date::now().as_millis().saturating_sub(*at), known.tip.head))
    })
}

fn is_recent(at: u64) -> bool {
    Date::now().as_millis().saturating_sub(at) < REMEMBER_MS
}

/// Takes note of where a reader that asked for `asked` has seen the log end.
pub fn saw(store: &StorePath, asked: &Offset, tail: Offset) {
    change(store, |known| {
        if tail < known.tip.offset {
            // It has lost something, or is another log.
            known.need = Need::Fresh;
        } else if tail > known.tip.offset && tail != *asked {
            // Some servers answer what lies beyond the tail with what was asked.
            known.need = match &known.need {
                Need::Fresh => Need::Fresh,
                Need::Reaching(seen) if *seen > tail => return,
                Need::Known | Need::Reaching(_) => Need::Reaching(tail),
            };
        }
    });
}

/// Takes note that the log is not what the Sequencer says.
pub fn doubt(store: &StorePath) {
    change(store, |known| known.need = Need::Fresh);
}

/// What is remembered is of another life of the store: it is asked for anew.
pub fn forget(store: &StorePath) {
    REMEMBERED.with_borrow_mut(|all| all.remove(store));
}

impl From<Tip> for Known {
    fn from(tip: Tip) -> Self {
        Self { tip, need: Need::Known }
    }
}

fn change(store: &StorePath, change: impl FnOnce(&mut Known)) {
    REMEMBERED.with_borrow_mut(|all| all.get_mut(store).map(|(_, known)| change(known)));
}

fn remember(store: &StorePath, answer: &Answer) {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => keep(store, tip.clone().into()),
        Answer::Tip(None) => forget(store),
        _ => {}
    }
}

fn keep(store: &StorePath, known: Known) {
    REMEMBERED.with_borrow_mut(|all| {
        if all.len() >= REMEMBER_STORES {
            all.clear();
        }
        all.insert(store.clone(), (Date::now().as_millis(), known));
    });
}
