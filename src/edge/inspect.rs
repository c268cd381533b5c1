//! `/inspect`: shows a store to its operator (docs/inspector.md). The inspector never writes.

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

use super::context::StoreContext;
use super::segment_cache::{self, SegmentCache};
use super::{sequencer_client, tip_cache};
use crate::failure::Failure;
use crate::isolate::Memory;
use crate::settings::{ASSETS_BINDING, Auth, Settings};

/// How many of the last segments are looked up in the edge cache. Each look-up may count as a request, of which a free plan
/// allows 50 an invocation.
const LOOKED_UP_SEGMENTS: usize = 32;

/// How many stores have their refusals counted. A store takes up to 70 KB, and an isolate has 128 MB.
const COUNTED_STORES: usize = 100;

/// The page may run its own script and style, and call its own Worker.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub(super) async fn page(env: &Env, page: &Page) -> Result<Response, Failure> {
    let missing = || {
        let detail = format!(
            "is on, which needs the binding {ASSETS_BINDING} with the files of inspector/."
        );
        Problem::misconfigured("INSPECTOR", detail)
    };
    let assets = env.assets(ASSETS_BINDING).map_err(|_| missing())?;
    let found = assets.fetch(format!("https://assets.invalid/{}", page.file), None).await?;
    if found.status_code() != 200 {
        return Err(missing().into());
    }
    let headers = Headers::new();
    headers.set("content-type", page.kind)?;
    headers.set("cache-control", "no-cache")?;
    headers.set("content-security-policy", CONTENT_SECURITY_POLICY)?;
    headers.set("referrer-policy", "no-referrer")?;
    Ok(found.with_headers(headers))
}

/// The settings of the page: the header for its token, or null if no token is needed.
pub(super) fn page_settings(settings: &Settings) -> worker::Result<Response> {
    let header = matches!(settings.auth, Auth::Jwt(_)).then(|| settings.auth.header());
    no_store(Response::from_json(&HashMap::from([("tokenHeader", header)]))?)
}

/// A store, as far as it can be shown without reading its log.
#[derive(Serialize)]
struct View<'a> {
    /// The Sequencer's part.
    store: &'a RawValue,
    /// Which of the last segments are in this location's edge cache.
    cached: Vec<bool>,
    /// The age in milliseconds of the tip by which this isolate serves reads.
    age: Option<u64>,
    /// That tip's head.
    head: Option<SeqNum>,
    /// Pushes that this isolate refused without calling the Sequencer.
    refused: Option<&'a PushStats>,
}

/// Shows a store.
pub(super) async fn inspect(ctx: &StoreContext<'_>) -> Result<Response, Failure> {
    let Inspection { shown, begins, incarnation } = sequencer_client::inspect(ctx).await?;
    let cached = match incarnation {
        Some(incarnation) => {
            let cache = SegmentCache::open(ctx.host, ctx.store, incarnation).await;
            let last = &begins[begins.len().saturating_sub(LOOKED_UP_SEGMENTS)..];
            segment_cache::cached(&cache, last).await
        }
        None => Vec::new(),
    };
    let (age, head) = tip_cache::age_ms_and_head(ctx.store).unzip();
    let response = REFUSED.with_borrow(|all| {
        Response::from_json(&View { store: &shown, cached, age, head, refused: all.get(ctx.store) })
    });
    Ok(no_store(response?)?)
}

fn no_store(response: Response) -> worker::Result<Response> {
    response.headers().set("cache-control", "no-store")?;
    Ok(response)
}

thread_local! {
    /// Pushes that this isolate refused without calling the Sequencer.
    static REFUSED: RefCell<Memory<StorePath, PushStats, COUNTED_STORES>> = RefCell::default();
}

/// Counts a push that the Worker itself refuses now, `waited_ms` after it arrived.
pub(super) fn count_refusal(
    store: &StorePath,
    now_ms: u64,
    waited_ms: u64,
    batch: Option<&Batch>,
    refusal: &Problem,
) {
    REFUSED.with_borrow_mut(|all| {
        let stats = all.get_or_insert_with(store.clone(), || PushStats::new(now_ms));
        stats.count(now_ms, waited_ms, batch, Err(refusal));
    });
}
