//! Asks the Sequencer, and remembers for a short while what a read needs of its answer.

use std::cell::RefCell;
use std::collections::HashMap;

use worker::{Date, Env, Headers, Method, Request, RequestInit, Stub, console_error, js_sys::Uint8Array};

use super::Failure;
use crate::event::{BackendId, SeqNum};
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::call::{CALL_HEADER, Call};
use crate::sequencer::core::{Answer, Op, Tip};
use crate::settings::SEQUENCER_BINDING;

/// How long a look-up is good for: reads call the Sequencer once in this time, a store and isolate.
const REMEMBER_MS: u64 = 30_000;

/// Stores remembered at most; beyond it all are forgotten, which costs a call each.
const REMEMBER_STORES: usize = 10_000;

/// What a read wants to know of a store.
#[derive(Clone)]
pub struct Known {
    /// Which life of the stream this is.
    pub backend_id: BackendId,
    /// The head, at most [`REMEMBER_MS`] old.
    pub head: SeqNum,
}

thread_local! {
    /// Of this isolate, keyed by the store's whole path, so that no tenant meets another.
    static REMEMBERED: RefCell<HashMap<StorePath, (u64, Known)>> = RefCell::default();
}

/// Calls a store's Sequencer. A refusal comes back as its [`Problem`].
pub async fn call(env: &Env, store: &StorePath, op: Op, body: Option<&[u8]>) -> Result<Answer, Failure> {
    let call = serde_json::to_string(&Call { path: store.as_str().into(), op }).map_err(worker::Error::from)?;
    let headers = Headers::new();
    headers.set(CALL_HEADER, &call)?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(headers).with_body(body.map(|bytes| Uint8Array::from(bytes).into()));
    let request = Request::new_with_init("http://sequencer/", &init)?;
    let object = env.durable_object(SEQUENCER_BINDING)?.get_by_name(store.as_str())?;
    // An object that is overloaded, restarting or broken: nobody knows what it did.
    let answer = ask(&object, request).await.map_err(|error| {
        console_error!("the Sequencer did not answer: {error}");
        Problem::unavailable()
    })?;
    remember(store, &answer);
    match Problem::from_answer(&answer) {
        Some(problem) => Err(problem.into()),
        None => Ok(answer),
    }
}

async fn ask(object: &Stub, request: Request) -> worker::Result<Answer> {
    object.fetch_with_request(request).await?.json().await
}

/// What is known of a store: from memory, else from the Sequencer. `None` while it has no stream, or
/// when the Sequencer can't tell because the upstream is down.
pub async fn known(env: &Env, store: &StorePath) -> Result<Option<Known>, Failure> {
    let now = Date::now().as_millis();
    let remembered = REMEMBERED.with_borrow(|all| all.get(store).cloned());
    match remembered {
        Some((at, known)) if now.saturating_sub(at) < REMEMBER_MS => Ok(Some(known)),
        _ => match call(env, store, Op::Look { fresh: false }, None).await {
            Ok(Answer::Tip(tip)) => Ok(tip.map(Known::from)),
            Ok(_) | Err(Failure::Problem(_)) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

impl From<Tip> for Known {
    fn from(tip: Tip) -> Self {
        Self { backend_id: tip.backend_id, head: tip.head }
    }
}

fn remember(store: &StorePath, answer: &Answer) {
    REMEMBERED.with_borrow_mut(|all| match answer {
        Answer::Accepted(tip) | Answer::Tip(Some(tip)) => {
            if all.len() >= REMEMBER_STORES {
                all.clear();
            }
            all.insert(store.clone(), (Date::now().as_millis(), tip.clone().into()));
        }
        Answer::Tip(None) => {
            all.remove(store);
        }
        _ => {}
    });
}
