//! Panics, traps, silences and failures of the storage on request, for the wire tests. Only builds with the feature
//! `failpoints` have them.

use std::cell::RefCell;

use worker::Request;
use worker::wasm_bindgen::prelude::wasm_bindgen;

/// The request header that names a failpoint.
const HEADER: &str = "headwater-failpoints";

thread_local! {
    /// The armed failpoint of this isolate. On one machine, the Worker shares its isolate with its Sequencers.
    static ARMED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Arms the failpoint that the request names, if it names one.
pub(crate) fn arm(request: &Request) {
    if let Ok(Some(name)) = request.headers().get(HEADER) {
        ARMED.set(Some(name));
    }
}

/// Panics once if this failpoint is armed.
pub(crate) fn at(name: &str) {
    if fires(name) {
        panic!("a failpoint at {name}");
    }
}

/// The failpoints of a call that arrives at a Sequencer: a panic, an end of the module without a panic, or silence for
/// ever.
pub(crate) async fn on_arrival() {
    at("arrival");
    if fires("trap") {
        std::arch::wasm32::unreachable();
    }
    if fires("exception") {
        throw("");
    }
    if fires("silence") {
        std::future::pending::<()>().await;
    }
}

/// Disarms the failpoint, and says whether it was armed.
pub(crate) fn fires(name: &str) -> bool {
    ARMED.with_borrow_mut(|armed| armed.take_if(|armed| armed == name)).is_some()
}

#[wasm_bindgen]
extern "C" {
    /// Throws an exception that the Rust side does not expect: `JSON.parse` of text that is no JSON.
    #[wasm_bindgen(js_namespace = JSON, js_name = parse)]
    fn throw(text: &str);
}
