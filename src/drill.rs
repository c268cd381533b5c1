//! Panics, traps and silences on request, for tests/wire/panics.test.ts. In no build but that of the feature `panic-drill`.

use std::cell::RefCell;

use worker::Request;

/// Names the place to panic at.
const HEADER: &str = "headwater-panic-drill";

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
        panic!("a drill at {place}");
    }
}

/// Where a call has just arrived at a Sequencer: a place to panic at, to trap
/// without a panic, or to fall silent for ever.
pub async fn on_arrival() {
    at("arrival");
    if is("trap") {
        std::arch::wasm32::unreachable();
    }
    if is("silence") {
        std::future::pending::<()>().await;
    }
}

fn is(place: &str) -> bool {
    ARMED.with_borrow_mut(|armed| armed.take_if(|armed| armed == place)).is_some()
}
