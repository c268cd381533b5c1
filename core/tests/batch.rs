//! The batch check: the bodies that pass, and the field that each refusal names.

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

/// Legal JSON. serde_json's `Value` can't hold all of it.
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
fn a_batch_that_is_a_chain_passes() {
    let batch = check_json(json!([event(5, 4), event(6, 5), event(7, 6)])).unwrap();
    assert_eq!((batch.parent, batch.first, batch.last, batch.events), (4, 5, 7, 3));
    assert!(check_json(json!([event(1, 0)])).is_ok());
    assert!(
        check_json(json!([event(40, 0), event(41, 40)])).is_ok(),
        "a store's first event with a higher number is refused"
    );
    assert!(check_json(json!([event((1 << 53) - 1, (1 << 53) - 2)])).is_ok());
    assert!(
        check_json(Value::from((1..=100).map(|n| event(n, n - 1)).collect::<Vec<_>>())).is_ok()
    );
}

#[test]
fn events_with_unknown_fields_and_any_args_pass() {
    for args in [Value::Null, json!(1), json!("x"), json!([]), json!({ "seqNum": "nested" })] {
        assert!(check_json(json!([with("args", args)])).is_ok());
    }
    assert!(check_json(json!([with("future", json!({ "a": 1 }))])).is_ok());
    // JSON.stringify writes a lone surrogate like this. serde_json's strings can't hold one.
    let lone = event(1, 0).to_string().replace("\"id\":\"1\"", r#""id":"\ud83d""#);
    assert!(check(format!("[{lone}]").as_bytes(), LIMITS).is_ok());
}

#[test]
fn an_event_without_a_field_or_with_a_wrong_type_is_refused() {
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
            assert_eq!(what, "is given twice");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_that_do_not_link_are_refused() {
    refused(json!([event(5, 4), event(7, 5)]), 1, "seqNum", "must be 6");
    refused(json!([event(5, 4), event(6, 4)]), 1, "parentSeqNum", "the event before it is 5");
    refused(json!([event(5, 5)]), 0, "seqNum", "must be 6");
    refused(json!([event(4, 5)]), 0, "seqNum", "must be 6");
    refused(json!([event(7, 5)]), 0, "seqNum", "must be 6");
    refused(json!([event(0, 0)]), 0, "seqNum", "must be 1");
}

#[test]
fn a_body_that_is_not_a_batch_is_refused() {
    for (body, expected) in [
        ("", "The body is not JSON"),
        ("[", "The body is not JSON"),
        ("[1] x", "The body is not JSON"),
        (" ", "The body is not JSON"),
        ("x", "The body is not JSON"),
        ("{bad", "The body is not JSON"),
        ("[{bad", "The body is not JSON"),
        (r#"{"a":1"#, "The body is not JSON"),
        (r#"{"a":1} x"#, "The body is not JSON"),
        (r#"{"a":[1,]}"#, "The body is not JSON"),
        (r#"{"a":"\x"}"#, "The body is not JSON"),
        ("nul", "The body is not JSON"),
        ("1 2", "The body is not JSON"),
        ("01", "The body is not JSON"),
        (r#""a"#, "The body is not JSON"),
        ("\u{feff}[]", "The body is not JSON"),
        ("{}", "The body must be a JSON array"),
        (r#"{"a":"\ud83d"}"#, "The body must be a JSON array"),
        (" 1 ", "The body must be a JSON array"),
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
    // No UTF-8: a byte that never occurs, and a lone surrogate as bytes
    for body in [
        &b"[\"\xff\"]"[..],
        b"{\"a\":\"\xff\"}",
        b"\"\xff\"",
        b"{\"a\":\"\xed\xa0\xbd\"}",
        b"[\"\xed\xa0\xbd\"]",
    ] {
        assert!(matches!(check(body, LIMITS), Err(BatchError::Malformed(_))), "{body:?}");
    }
    let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    assert_eq!(check(deep.as_bytes(), LIMITS), Err(BatchError::NotAnArray));
}

proptest! {
    /// Otherwise one odd event would make the log unreadable to the Sequencer.
    #[test]
    fn every_event_that_passes_the_check_is_read_by_the_scanner(
        extra in prop::collection::vec((prop_oneof![Just("livestore".to_string()), "[a-z]{0,9}"], json_text()), 0..4),
        args in json_text(),
    ) {
        let extra: String = extra.iter().map(|(key, value)| format!(r#","{key}":{value}"#)).collect();
        let event = format!(
            r#"{{"name":"e","args":{args},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"{extra}}}"#
        );
        if check(format!("[{event}]").as_bytes(), LIMITS).is_ok() {
            let mut scanner = LogScanner::from_start();
            scanner.message(event.as_bytes());
            let range = scanner.finish();
            prop_assert_eq!((range.broken, range.link, range.header), (None, Some((0, 1)), None));
        }
    }

    #[test]
    fn a_fingerprint_depends_on_events_and_not_on_white_space(texts in prop::collection::vec(".*", 1..5), other in ".*") {
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
    fn malformed_input_never_makes_the_check_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&body, LIMITS);
    }

    #[test]
    fn a_damaged_batch_never_makes_the_check_panic(at: prop::sample::Index, byte: u8) {
        let mut body = json!([event(1, 0), event(2, 1)]).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = check(&body, LIMITS);
    }
}

/// Serde also reads a struct from an array. A log that holds such a message is not a chain.
#[test]
fn an_array_is_neither_an_event_nor_a_header_for_the_scanner() {
    for message in ["[1,0]", r#"[["b"]]"#, r#"{"livestore":["b"]}"#] {
        let mut scanner = LogScanner::from_start();
        scanner.message(message.as_bytes());
        let range = scanner.finish();
        assert!(range.broken.is_some() && range.header.is_none(), "{message}");
    }
}

#[test]
fn an_event_that_is_nested_too_deep_is_refused() {
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
    // Brackets in strings, and brackets side by side, add no depth.
    let flat = |args: String| {
        let event = r#"[{"name":"e","args":ARGS,"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}]"#;
        check(event.replace("ARGS", &args).as_bytes(), LIMITS)
    };
    assert!(flat(format!("\"{}\\\"[{{\"", "[".repeat(1_000))).is_ok());
    assert!(flat(format!("[{}[]]", "[],".repeat(1_000))).is_ok());
}
