//! `batch::check` against a second implementation of it, and against what reads the log later.
//!
//! The input is the body of a push.

#![no_main]

use std::fmt;

use headwater_core::batch::{Batch, BatchError, BatchLimits, check};
use headwater_core::event::{MAX_SEQ_NUM, ROOT};
use headwater_core::log::{LogRange, LogScanner, Probe};
use headwater_fuzz::{elements, split};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

/// Few enough that the fuzzer gets beyond it.
const MAX_EVENTS: usize = 8;

fuzz_target!(|body: &[u8]| {
    let checked = check(body, limits(MAX_EVENTS));
    assert_eq!(checked.is_ok(), is_batch(body), "{checked:?}");
    match checked {
        Ok(batch) => accepted(body, batch),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

/// Bytes are the reader's to limit, not the check's.
fn limits(events: usize) -> BatchLimits {
    BatchLimits { events, bytes: 0, event_bytes: usize::MAX }
}

fn accepted(body: &[u8], batch: Batch) {
    let events = elements(body).expect("an accepted body is a JSON array");
    assert_eq!(
        split([body]),
        (events.clone(), Ok(())),
        "the splitter cuts other events than the check saw"
    );

    assert_eq!((batch.events, batch.bytes), (events.len() as u64, body.len() as u64));
    assert_eq!(batch.last - batch.first, batch.events - 1, "numbers rise by exactly 1");
    assert!(batch.parent + 1 == batch.first || (batch.parent == ROOT && batch.first > ROOT));
    assert!(batch.last <= MAX_SEQ_NUM);

    let probe =
        Probe { parent: batch.parent, events: batch.events, fingerprint: batch.fingerprint };
    let read_back = |scan| stretch(scan, &events);
    same_chain(read_back(LogScanner::onward(Some(probe))), batch, true);
    same_chain(read_back(LogScanner::onward(None)), batch, false);
    if batch.parent == ROOT {
        same_chain(read_back(LogScanner::from_start()), batch, false);
    }

    let one_fewer = batch.events as usize - 1;
    let refused = BatchError::Count { events: events.len(), max: one_fewer };
    assert_eq!(check(body, limits(one_fewer)), Err(refused));

    // Over the call to the Sequencer it goes as JSON.
    let called = serde_json::to_string(&batch).unwrap();
    assert_eq!(serde_json::from_str::<Batch>(&called).unwrap(), batch);
}

fn stretch(mut scan: LogScanner, events: &[Vec<u8>]) -> LogRange {
    events.iter().for_each(|event| scan.message(event));
    scan.finish()
}

fn same_chain(read: LogRange, batch: Batch, probe_found: bool) {
    assert_eq!(read.broken, None);
    assert_eq!(read.header, None);
    assert_eq!((read.events, read.link), (batch.events, Some((batch.parent, batch.last))));
    assert_eq!(read.fingerprint, batch.fingerprint);
    assert_eq!(read.probe_found, probe_found);
    assert!(read.continues(batch.parent));
}

/// The same rules again, on serde's derived reader instead of the check's own.
fn is_batch(body: &[u8]) -> bool {
    let Some(events) = elements(body).filter(|events| (1..=MAX_EVENTS).contains(&events.len()))
    else {
        return false;
    };
    let Some(events) = events.iter().map(|json| event(json)).collect::<Option<Vec<Event>>>() else {
        return false;
    };
    let starts_a_store = events[0].parent == ROOT && events[0].seq > ROOT;
    (starts_a_store || events[0].seq == events[0].parent + 1)
        && events
            .windows(2)
            .all(|pair| pair[1].parent == pair[0].seq && pair[1].seq == pair[0].seq + 1)
}

#[derive(serde::Deserialize)]
struct Event {
    name: Text,
    #[serde(rename = "args")]
    _args: IgnoredAny,
    #[serde(rename = "seqNum")]
    seq: u64,
    #[serde(rename = "parentSeqNum")]
    parent: u64,
    #[serde(rename = "clientId")]
    client: Text,
    #[serde(rename = "sessionId")]
    session: Text,
}

fn event(json: &[u8]) -> Option<Event> {
    // Serde would read an array as a struct, too.
    let event: Event = serde_json::from_slice(json).ok().filter(|_| json.starts_with(b"{"))?;
    let texts = [&event.name, &event.client, &event.session];
    (texts.iter().all(|text| !text.empty)
        && event.seq <= MAX_SEQ_NUM
        && event.parent <= MAX_SEQ_NUM)
        .then_some(event)
}

/// A JSON string, lone surrogates allowed.
struct Text {
    empty: bool,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text { empty: bytes.is_empty() })
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
