//! `/inspect`: shows a store to who runs the Worker (docs/inspector.md). Nothing here writes.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;
use worker::{Env, Headers, Response};

use super::history::{self, Shelf};
use super::route::Page;
use super::{Failure, lookup};
use crate::batch::Batch;
use crate::event::SeqNum;
use crate::names::StorePath;
use crate::problem::Problem;
use crate::sequencer::call::Inspection;
use crate::settings::{ASSETS_BINDING, Auth, Settings};
use crate::tally::Tally;

/// The last segments, which are looked for in the edge cache: each look may count as a request, of which a free plan
/// allows 50 an invocation.
const LOOKS: usize = 32;

/// Stores whose refusals are kept; beyond it all are forgotten. One takes up to 70 KB, and an isolate has 128 MB.
const COUNTED_STORES: usize = 100;

/// What the page may do: run its own script and style, and ask its own Worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub async fn page(env: &Env, page: &Page) -> Result<Response, Failure> {
    let missing = || {
        let what = format!("is on, which needs the binding {ASSETS_BINDING} with the files of inspector/.");
        Problem::misconfigured("INSPECTOR", what)
    };
    let assets = env.assets(ASSETS_BINDING).map_err(|_| missing())?;
    let found = assets.fetch(format!("https://assets.invalid/{}", page.file), None).await?;
    if found.status_code() != 200 {
        return Err(missing().into());
    }
    let headers = Headers::new();
    headers.set("content-type", page.kind)?;
    headers.set("cache-control", "no-cache")?;
    headers.set("content-security-policy", POLICY)?;
    headers.set("referrer-policy", "no-referrer")?;
    Ok(found.with_headers(headers))
}

/// How the page is to ask for a store: in which header it sends a token; null if none is wanted.
pub fn manual(settings: &Settings) -> worker::Result<Response> {
    let header = matches!(settings.auth, Auth::Jwt(_)).then(|| settings.auth.header());
    no_store(Response::from_json(&HashMap::from([("tokenHeader", header)]))?)
}

/// All that can be told of a store without reading its log.
#[derive(Serialize)]
struct View<'a> {
    /// What the Sequencer tells.
    store: &'a RawValue,
    /// Which of its segments are in this location's edge cache: of the last ones, as many as are looked for.
    cached: Vec<bool>,
    /// How old the tip is that this isolate serves reads by, in milliseconds.
    age: Option<u64>,
    /// That tip's head.
    head: Option<SeqNum>,
    /// Pushes that this isolate refused without asking the Sequencer.
    refused: Option<&'a Tally>,
}

/// Answers what there is to see of a store. `host` is the request's.
pub async fn inspect(env: &Env, host: &str, store: &StorePath) -> Result<Response, Failure> {
    let Inspection { shown, begins, life } = lookup::inspect(env, store).await?;
    let cached = match life {
        Some(life) => {
            let shelf = Shelf::open(host, store, life).await;
            history::kept(&shelf, &begins[begins.len().saturating_sub(LOOKS)..]).await
        }
        None => Vec::new(),
    };
    let (age, head) = lookup::memory(store).unzip();
    let response = REFUSED
        .with_borrow(|all| Response::from_json(&View { store: &shown, cached, age, head, refused: all.get(store) }));
    Ok(no_store(response?)?)
}

fn no_store(response: Response) -> worker::Result<Response> {
    response.headers().set("cache-control", "no-store")?;
    Ok(response)
}

thread_local! {
    /// Of this isolate: pushes that it refused itself.
    static REFUSED: RefCell<HashMap<StorePath, Tally>> = RefCell::default();
}

/// Counts a push that is refused here and `now`, after so many milliseconds.
pub fn count(store: &StorePath, now: u64, ms: u64, batch: Option<&Batch>, refusal: &Problem) {
    REFUSED.with_borrow_mut(|all| {
        if all.len() >= COUNTED_STORES && !all.contains_key(store) {
            all.clear();
        }
        all.entry(store.clone()).or_insert_with(|| Tally::new(now)).count(now, ms, batch, Err(refusal));
    });
}
