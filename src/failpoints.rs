//! Panics, traps and silences on request, for tests/wire/panics.test.ts. In no build but that of the feature `failpoints`.

use std::cell::RefCell;

use worker::Request;
use worker::wasm_bindgen::prelude::wasm_bindgen;

/// Names the place to panic at.
const HEADER: &str = "headwater-failpoints";

thread_local! {
    /// Of the isolate, which the Worker shares with its Sequencers on one machine.
    static ARMED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Arms the place that the request names, if it names one.
pub fn arm(request: &Request) {
    if let Ok(Some(place)) = request.headers().get(HEADER) {
        ARMED.set(Some(place));
    }
}

/// Panics if this is the place; once.
pub fn at(place: &str) {
    if is(place) {
        panic!("a failpoint at {place}");
    }
}

/// Where a call has just arrived at a Sequencer: a place to panic at, to end the
/// module without a panic, or to fall silent for ever.
pub async fn on_arrival() {
    at("arrival");
    if is("trap") {
        std::arch::wasm32::unreachable();
    }
    if is("exception") {
        throw("");
    }
    if is("silence") {
        std::future::pending::<()>().await;
    }
}

fn is(place: &str) -> bool {
    ARMED.with_borrow_mut(|armed| armed.take_if(|armed| armed == place)).is_some()
}

#[wasm_bindgen]
extern "C" {
    /// An exception that the Rust side does not expect: `JSON.parse` of what is no JSON.
    #[wasm_bindgen(js_namespace = JSON, js_name = parse)]
    fn throw(text: &str);
}
