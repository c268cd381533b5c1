//! The header reader and the scan against what serde_json sees in a message.
//!
//! The input is one message, then its lines are the messages of a log. It is also a backend id.

#![no_main]

use headwater_core::event::{BackendId, Fingerprint, MAX_SEQ_NUM, ROOT, SeqNum};
use headwater_core::log::{Break, LogRange, LogScanner, Probe, header_message, header_of};
use headwater_fuzz::split;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Few, for the sake of speed.
const MAX_MESSAGES: usize = 8;

/// Messages, and what each is.
type Log<'a> = Vec<(&'a [u8], Kind)>;

fuzz_target!(|data: &[u8]| {
    a_header_is_read_back(&String::from_utf8_lossy(data));
    checked_kind_of(data);
    let messages = data.splitn(MAX_MESSAGES, |byte| *byte == b'\n');
    let mut log: Log = messages.map(|message| (message, checked_kind_of(message))).collect();
    adds_up(&log);
    log.reverse();
    adds_up(&log);
    adds_up(&[log.as_slice(), log.as_slice()].concat());
});

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Event { parent: SeqNum, seq: SeqNum },
    Header(BackendId),
    Neither,
}

/// What the scan takes a message for: exactly one of the three.
fn kind_of(message: &[u8]) -> Kind {
    let mut scan = LogScanner::onward(None);
    scan.message(message);
    let stretch = scan.finish();
    assert_eq!(stretch.bytes, message.len() as u64);
    assert_eq!(stretch.header, header_of(message), "the scan and the header reader differ");
    match (stretch.events, stretch.link, stretch.header, stretch.broken) {
        (1, Some((parent, seq)), None, broken) => {
            let link = Break::Link { seq, parent, before: parent };
            assert_eq!(broken, (seq <= parent).then_some(link));
            Kind::Event { parent, seq }
        }
        (0, None, Some(id), None) => Kind::Header(id),
        (0, None, None, Some(Break::NotAnEvent(0))) => Kind::Neither,
        other => panic!("more or less than one thing: {other:?}"),
    }
}

/// The same, and it is one as JSON, too.
fn checked_kind_of(message: &[u8]) -> Kind {
    let kind = kind_of(message);
    // Not every JSON text fits into a Value: 1e999 and lone surrogates don't.
    let Ok(value) = serde_json::from_slice::<Value>(message) else { return kind };
    let expected = seems(&value);
    match &kind {
        Kind::Event { .. } => assert_eq!(kind, expected),
        // A field given twice makes it no event to the scan, while a Value keeps the last.
        Kind::Header(_) => assert!(kind == expected || matches!(expected, Kind::Event { .. })),
        Kind::Neither => {}
    }
    // Written anew it has no field twice, and then there is no doubt.
    assert_eq!(kind_of(value.to_string().as_bytes()), expected);
    kind
}

fn seems(value: &Value) -> Kind {
    let link = |field| value.get(field).and_then(Value::as_u64);
    if let (Some(parent), Some(seq)) =
        (link("parentSeqNum"), link("seqNum").filter(|seq| *seq <= MAX_SEQ_NUM))
    {
        return Kind::Event { parent, seq };
    }
    match value
        .get("livestore")
        .and_then(|identity| identity.get("backendId"))
        .and_then(Value::as_str)
    {
        Some(id) => Kind::Header(BackendId(id.into())),
        None => Kind::Neither,
    }
}

fn a_header_is_read_back(id: &str) {
    let id = BackendId(id.into());
    let body = header_message(&id);
    let (messages, end) = split([body.as_bytes()]);
    assert_eq!((messages.len(), end), (1, Ok(())));
    assert_eq!(kind_of(&messages[0]), Kind::Header(id));
}

fn scan(mut scan: LogScanner, log: &[(&[u8], Kind)]) -> LogRange {
    log.iter().for_each(|(message, _)| scan.message(message));
    scan.finish()
}

/// What a stretch is told to hold is what its messages hold, one by one.
fn adds_up(log: &[(&[u8], Kind)]) {
    let mut links = Vec::new();
    let mut headers = Vec::new();
    let mut foreign = false;
    for (_, kind) in log {
        match kind {
            Kind::Event { parent, seq } => links.push((*parent, *seq)),
            Kind::Header(id) => headers.push(id),
            Kind::Neither => foreign = true,
        }
    }
    let rises = links.iter().all(|(parent, seq)| seq > parent);
    let is_chain = !foreign && rises && links.windows(2).all(|pair| pair[0].1 == pair[1].0);
    let ends = links.first().zip(links.last()).map(|(first, last)| (first.0, last.1));
    let head = ends.map_or(ROOT, |(parent, _)| parent);

    let onward = scan(LogScanner::onward(None), log);
    assert_eq!(onward.events, links.len() as u64);
    assert_eq!(onward.link, ends);
    assert_eq!(onward.header.as_ref(), headers.first().copied());
    assert_eq!(onward.bytes, log.iter().map(|(message, _)| message.len() as u64).sum::<u64>());
    assert_eq!(onward.broken.is_none(), is_chain);
    assert_eq!(onward.continues(head), is_chain && headers.is_empty());
    assert!(ends.is_none() || !onward.continues(head ^ 1));

    let whole = scan(LogScanner::from_start(), log);
    assert_eq!(whole.broken.is_none(), is_chain && head == ROOT);
    assert_eq!(
        (whole.events, whole.link, whole.fingerprint),
        (onward.events, onward.link, onward.fingerprint)
    );

    // Cut anywhere, the parts continue each other exactly when the whole is one.
    let (before, after) = log.split_at(log.len() / 2);
    let (before, after) =
        (scan(LogScanner::onward(None), before), scan(LogScanner::onward(None), after));
    let between = before.link.map_or(head, |(_, last)| last);
    assert_eq!(onward.continues(head), before.continues(head) && after.continues(between));

    // The first events are found as a probe, and nothing else is.
    let parent = onward.link.map_or(ROOT, |(first, _)| first);
    let found = |events, fingerprint| {
        scan(LogScanner::onward(Some(Probe { parent, events, fingerprint })), log).probe_found
    };
    let Fingerprint(print) = before.fingerprint;
    assert_eq!(found(before.events, Fingerprint(print)), before.events > 0);
    assert!(!found(before.events, Fingerprint(print ^ 1)));
    assert!(!found(onward.events + 1, onward.fingerprint));
}
