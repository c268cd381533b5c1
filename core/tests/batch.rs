//! The batch check: what passes, and what each refusal names.

use headwater_core::batch::{Batch, BatchError, BatchLimits, MAX_DEPTH, check};
use headwater_core::log::LogScanner;
use proptest::prelude::*;
use serde_json::{Value, json};

const LIMITS: BatchLimits = BatchLimits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20 };

fn event(seq: u64, parent: u64) -> Value {
    json!({ "name": "todoCreated", "args": { "id": "1" }, "seqNum": seq, "parentSeqNum": parent, "clientId": "c", "sessionId": "s" })
}

fn with(field: &str, value: Value) -> Value {
    let mut event = event(5, 4);
    event[field] = value;
    event
}

fn without(field: &str) -> Value {
    let mut event = event(5, 4);
    event.as_object_mut().unwrap().remove(field);
    event
}

/// JSON that is legal, but not always what serde_json's `Value` can hold.
fn json_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"{"backendId":"x"}"#.to_string()),
        Just(r#""\ud83d""#.to_string()),
        Just("1e999".to_string()),
        Just("12345678901234567890123".to_string()),
        Just(r#"{"a":1,"a":2}"#.to_string()),
        any::<String>().prop_map(|s| Value::from(s).to_string()),
    ]
}

fn check_json(batch: Value) -> Result<Batch, BatchError> {
    check(batch.to_string().as_bytes(), LIMITS)
}

#[track_caller]
fn refused(batch: Value, at: usize, in_field: &str, because: &str) {
    match check_json(batch.clone()) {
        Err(BatchError::Event { index, field, what }) => {
            assert_eq!((index, field), (at, in_field), "{batch} {what}");
            assert!(what.contains(because), "{what:?} lacks {because:?}");
        }
        other => panic!("{batch} → {other:?}"),
    }
}

#[test]
fn a_chain_passes() {
    let batch = check_json(json!([event(5, 4), event(6, 5), event(7, 6)])).unwrap();
    assert_eq!((batch.parent, batch.first, batch.last, batch.events), (4, 5, 7, 3));
    assert!(check_json(json!([event(1, 0)])).is_ok());
    assert!(
        check_json(json!([event(40, 0), event(41, 40)])).is_ok(),
        "a store's first event may start higher"
    );
    assert!(check_json(json!([event((1 << 53) - 1, (1 << 53) - 2)])).is_ok());
    assert!(
        check_json(Value::from((1..=100).map(|n| event(n, n - 1)).collect::<Vec<_>>())).is_ok()
    );
}

#[test]
fn unknown_fields_and_any_args_pass() {
    for args in [Value::Null, json!(1), json!("x"), json!([]), json!({ "seqNum": "nested" })] {
        assert!(check_json(json!([with("args", args)])).is_ok());
    }
    assert!(check_json(json!([with("future", json!({ "a": 1 }))])).is_ok());
    // JSON.stringify gives a lone surrogate like this, and serde_json's strings can't hold it.
    let lone = event(1, 0).to_string().replace("\"id\":\"1\"", r#""id":"\ud83d""#);
    assert!(check(format!("[{lone}]").as_bytes(), LIMITS).is_ok());
}

#[test]
fn each_field_is_required_and_typed() {
    for field in ["name", "args", "seqNum", "parentSeqNum", "clientId", "sessionId"] {
        refused(json!([without(field)]), 0, field, "is missing");
    }
    for field in ["name", "clientId", "sessionId"] {
        refused(json!([with(field, json!(1))]), 0, field, "is not a string");
        refused(json!([with(field, json!(""))]), 0, field, "is empty");
    }
    for field in ["seqNum", "parentSeqNum"] {
        for wrong in [json!("5"), json!(5.5), json!(-1), json!(null), json!(1u64 << 53)] {
            refused(
                json!([with(field, wrong)]),
                0,
                field,
                "is not an integer from 0 to 9007199254740991",
            );
        }
    }
    let twice = event(5, 4).to_string().replace("\"seqNum\":5", "\"seqNum\":5,\"seqNum\":6");
    match check(format!("[{twice}]").as_bytes(), LIMITS) {
        Err(BatchError::Event { index: 0, field: "seqNum", what }) => {
            assert_eq!(what, "is given twice")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_are_checked() {
    refused(json!([event(5, 4), event(7, 5)]), 1, "seqNum", "must be 6");
    refused(json!([event(5, 4), event(6, 4)]), 1, "parentSeqNum", "the event before it is 5");
    refused(json!([event(5, 5)]), 0, "seqNum", "must be 6");
    refused(json!([event(4, 5)]), 0, "seqNum", "must be 6");
    refused(json!([event(7, 5)]), 0, "seqNum", "must be 6");
    refused(json!([event(0, 0)]), 0, "seqNum", "must be 1");
}

#[test]
fn bodies_that_are_no_batch() {
    for (body, expected) in [
        ("", "The body is not JSON"),
        ("[", "The body is not JSON"),
        ("[1] x", "The body is not JSON"),
        ("{}", "The body must be a JSON array"),
        ("null", "The body must be a JSON array"),
        ("[]", "A batch holds 1 to 100 events, but this one holds 0"),
        ("[1]", "Event 0 is not an object"),
        ("[[]]", "Event 0 is not an object"),
    ] {
        let error = check(body.as_bytes(), LIMITS).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{body:?} → {error}");
    }
    let many = Value::from((1..=101).map(|n| event(n, n - 1)).collect::<Vec<_>>());
    assert_eq!(check_json(many), Err(BatchError::Count { events: 101, max: 100 }));
    assert!(matches!(check(b"[\"\xff\"]", LIMITS), Err(BatchError::Malformed(_))), "not UTF-8");
}

proptest! {
    /// Else one odd event would make the log unreadable to the Sequencer.
    #[test]
    fn what_the_check_lets_pass_the_scan_reads(
        extra in prop::collection::vec((prop_oneof![Just("livestore".to_string()), "[a-z]{0,9}"], json_text()), 0..4),
        args in json_text(),
    ) {
        let extra: String = extra.iter().map(|(key, value)| format!(r#","{key}":{value}"#)).collect();
        let event = format!(
            r#"{{"name":"e","args":{args},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"{extra}}}"#
        );
        if check(format!("[{event}]").as_bytes(), LIMITS).is_ok() {
            let mut scan = LogScanner::from_start();
            scan.message(event.as_bytes());
            let stretch = scan.finish();
            prop_assert_eq!((stretch.broken, stretch.link, stretch.header), (None, Some((0, 1)), None));
        }
    }

    #[test]
    fn a_fingerprint_tells_batches_apart_but_not_their_white_space(texts in prop::collection::vec(".*", 1..5), other in ".*") {
        let events = |texts: &[String]| -> Vec<Value> {
            let seqs = 1u64..;
            texts.iter().zip(seqs).map(|(t, n)| { let mut e = event(n, n - 1); e["args"] = json!(t); e }).collect()
        };
        let plain = check_json(Value::from(events(&texts))).unwrap();
        let spaced = events(&texts).iter().map(Value::to_string).collect::<Vec<_>>().join(" ,\n ");
        let spaced = check(format!(" [ {spaced} ] ").as_bytes(), LIMITS).unwrap();
        prop_assert_eq!(plain.fingerprint, spaced.fingerprint);
        let mut changed = texts.clone();
        changed[0] = other;
        prop_assume!(changed != texts);
        prop_assert_ne!(plain.fingerprint, check_json(Value::from(events(&changed))).unwrap().fingerprint);
    }

    #[test]
    fn malformed_input_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&body, LIMITS);
    }

    #[test]
    fn a_damaged_batch_never_panics(at: prop::sample::Index, byte: u8) {
        let mut body = json!([event(1, 0), event(2, 1)]).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = check(&body, LIMITS);
    }
}

/// Serde reads a struct from an array too; a log that holds such messages is no chain of events.
#[test]
fn the_scan_takes_no_array_for_an_event_or_a_header() {
    for message in ["[1,0]", r#"[["b"]]"#, r#"{"livestore":["b"]}"#] {
        let mut scan = LogScanner::from_start();
        scan.message(message.as_bytes());
        let stretch = scan.finish();
        assert!(stretch.broken.is_some() && stretch.header.is_none(), "{message}");
    }
}

#[test]
fn an_event_is_nested_so_deep_and_no_deeper() {
    // The event itself is the first level.
    let nested = |depth: usize| {
        let args = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        let event = r#"{"name":"e","args":ARGS,"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}"#;
        check(format!("[{}]", event.replace("ARGS", &args)).as_bytes(), LIMITS)
    };
    assert!(nested(MAX_DEPTH).is_ok());
    let BatchError::Event { index: 0, field: "", .. } = nested(MAX_DEPTH + 1).unwrap_err() else {
        panic!()
    };
    // Brackets in strings, and side by side, are not depth.
    let flat = |args: String| {
        let event = r#"[{"name":"e","args":ARGS,"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}]"#;
        check(event.replace("ARGS", &args).as_bytes(), LIMITS)
    };
    assert!(flat(format!("\"{}\\\"[{{\"", "[".repeat(1_000))).is_ok());
    assert!(flat(format!("[{}[]]", "[],".repeat(1_000))).is_ok());
}
