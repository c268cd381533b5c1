//! `/inspect`: shows a store to who runs the Worker (docs/inspector.md). Nothing here writes.

use std::cell::RefCell;
use std::collections::HashMap;

use headwater_core::batch::Batch;
use headwater_core::event::SeqNum;
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::push_stats::PushStats;
use headwater_core::route::Page;
use headwater_core::sequencer::call::Inspection;
use serde::Serialize;
use serde_json::value::RawValue;
use worker::{Env, Headers, Response};

use super::context::{Failure, StoreRequest};
use super::segment_cache::{self, SegmentCache};
use super::{sequencer_client, tip_cache};
use crate::isolate::Memory;
use crate::settings::{ASSETS_BINDING, Auth, Settings};

/// The last segments, which are looked for in the edge cache: each look may count as a request, of which a free plan
/// allows 50 an invocation.
const LOOKS: usize = 32;

/// Stores whose refusals are counted. One takes up to 70 KB, and an isolate has 128 MB.
const COUNTED_STORES: usize = 100;

/// What the page may do: run its own script and style, and ask its own Worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub async fn page(env: &Env, page: &Page) -> Result<Response, Failure> {
    let missing = || {
        let what = format!(
            "is on, which needs the binding {ASSETS_BINDING} with the files of inspector/."
        );
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
    refused: Option<&'a PushStats>,
}

/// Answers what there is to see of a store.
pub async fn inspect(on: &StoreRequest<'_>) -> Result<Response, Failure> {
    let Inspection { shown, begins, incarnation } = sequencer_client::inspect(on).await?;
    let cached = match incarnation {
        Some(incarnation) => {
            let cache = SegmentCache::open(on.host, on.store, incarnation).await;
            segment_cache::kept(&cache, &begins[begins.len().saturating_sub(LOOKS)..]).await
        }
        None => Vec::new(),
    };
    let (age, head) = tip_cache::age_and_head(on.store).unzip();
    let response = REFUSED.with_borrow(|all| {
        Response::from_json(&View { store: &shown, cached, age, head, refused: all.get(on.store) })
    });
    Ok(no_store(response?)?)
}

fn no_store(response: Response) -> worker::Result<Response> {
    response.headers().set("cache-control", "no-store")?;
    Ok(response)
}

thread_local! {
    /// Of this isolate: pushes that it refused itself.
    static REFUSED: RefCell<Memory<StorePath, PushStats, COUNTED_STORES>> = RefCell::default();
}

/// Counts a push that is refused here and `now`, after so many milliseconds.
pub fn count(store: &StorePath, now: u64, ms: u64, batch: Option<&Batch>, refusal: &Problem) {
    REFUSED.with_borrow_mut(|all| {
        all.entry(store.clone(), || PushStats::new(now)).count(now, ms, batch, Err(refusal));
    });
}
