//! The vectors of `spec/`, which Rust and TypeScript both run. `spec/README.md` explains their format.

use headwater_core::batch::{BatchError, BatchLimits, check};
use headwater_core::event::{BackendId, fence};
use headwater_core::log::{Break, ChainValidator, header_message, header_of};
use headwater_core::names::{MAX_NAME_BYTES, StorePath, encode};
use headwater_core::problem::Problem;
use headwater_core::sequencer::{Answer, Halt, Refusal};
use serde_json::{Value, json};

/// The cases of a file: the name, the case, and the expected result for Rust.
fn vectors(file: &str) -> Vec<(String, Value, Value)> {
    let path = format!("{}/../spec/{file}", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    let vector = |case: Value| {
        let expected = case.get("expect").or(case.get("rust")).expect("a result for Rust").clone();
        (case["case"].as_str().expect("a name").into(), case, expected)
    };
    cases.into_iter().map(vector).collect()
}

#[test]
fn names_pass_their_vectors() {
    for (name, case, expected) in vectors("names.json") {
        let times = case["times"].as_u64().unwrap() as usize;
        let repeated = |key: &str| case[key].as_str().unwrap().repeat(times);
        let (text, url) = (repeated("name"), repeated("url"));
        let from_url = StorePath::from_url("t", &url, MAX_NAME_BYTES);
        if expected.get("error").is_some() {
            assert!(StorePath::new("t", &text).is_err(), "{name}");
            assert!(from_url.is_err(), "{name}");
        } else {
            let encoded = expected["encoded"].as_str().unwrap();
            assert_eq!(encode(&text), encoded, "{name}");
            assert_eq!(
                StorePath::new("t", &text).unwrap().as_str(),
                format!("t/{encoded}"),
                "{name}"
            );
            assert_eq!(from_url.unwrap().as_str(), format!("t/{encoded}"), "{name}");
        }
    }
}

#[test]
fn fences_pass_their_vectors() {
    for (name, case, expected) in vectors("fence.json") {
        assert_eq!(fence(case["parentSeqNum"].as_u64().unwrap()), expected["fence"], "{name}");
    }
}

#[test]
fn header_messages_pass_their_vectors() {
    for (name, case, expected) in vectors("header.json") {
        let message = case["message"].as_str().unwrap();
        let id = header_of(message.as_bytes());
        assert_eq!(json!(id.as_ref().map(|id| &id.0)), expected["backendId"], "{name}");
        if expected["written"] == true {
            assert_eq!(header_message(&id.unwrap()), format!("[{message}]"), "{name}");
        }
    }
}

#[test]
fn chains_pass_their_vectors() {
    for (name, case, expected) in vectors("chain.json") {
        let mut chain = ChainValidator::from_start();
        let mut broken_at = None;
        for (index, message) in case["messages"].as_array().unwrap().iter().enumerate() {
            chain.message(message.as_str().unwrap().as_bytes());
            if chain.broken.is_some() {
                broken_at.get_or_insert(index);
            }
        }
        let found = match &chain.broken {
            None => json!({
                "result": "chain",
                "header": chain.header.as_ref().map(|id| &id.0),
                "events": chain.events,
                "head": chain.link.map_or(0, |(_, head)| head),
            }),
            Some(Break::NotAnEvent(_)) => json!({ "result": "not-an-event", "index": broken_at }),
            Some(Break::Link { seq, parent, before }) => json!({
                "result": "link", "index": broken_at, "seqNum": seq, "parentSeqNum": parent, "before": before,
            }),
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn batches_pass_their_vectors() {
    let limits = BatchLimits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20 };
    for (name, case, expected) in vectors("batch.json") {
        let found = match check(case["body"].as_str().unwrap().as_bytes(), limits) {
            Ok(batch) => json!({
                "result": "accepted",
                "parent": batch.parent, "first": batch.first, "last": batch.last, "events": batch.events,
            }),
            Err(BatchError::Malformed(_)) => json!({ "result": "refused", "kind": "malformed" }),
            Err(BatchError::NotAnArray) => json!({ "result": "refused", "kind": "not-an-array" }),
            Err(BatchError::Count { .. }) => json!({ "result": "refused", "kind": "count" }),
            Err(BatchError::TooLarge { index, .. }) => {
                json!({ "result": "refused", "kind": "too-large", "index": index })
            }
            Err(BatchError::Event { index, field, .. }) => {
                json!({ "result": "refused", "kind": "event", "index": index, "field": field })
            }
        };
        assert_eq!(found, expected, "{name}");
    }
}

/// One problem of each kind that the core can make.
fn problems() -> Vec<Problem> {
    let backend = |id: &str| BackendId(id.into());
    let batch_error = |body: &str| {
        Problem::from(
            &check(body.as_bytes(), BatchLimits { events: 1, bytes: 100, event_bytes: 10 })
                .unwrap_err(),
        )
    };
    let answers = [
        Answer::ServerAhead { minimum_expected: 8, provided: 7 },
        Answer::Gap { head: 7, parent: 9 },
        Answer::BackendIdMismatch { expected: backend("a"), received: backend("b") },
        Answer::Overloaded,
        Answer::Unavailable,
        Answer::Refused(Refusal { status: 429, retry_after: None }),
        Answer::Refused(Refusal { status: 413, retry_after: None }),
        Answer::Refused(Refusal { status: 401, retry_after: None }),
        Answer::Halted(Halt::Missing(7), None),
        Answer::Halted(Halt::Replaced(backend("b")), None),
        Answer::Halted(Halt::Altered(7), None),
        Answer::Halted(Halt::Trimmed, None),
        Answer::Halted(Halt::WentBackwards { acknowledged: 7, found: 6 }, None),
        Answer::Halted(Halt::Broken(Break::NotAnEvent(7).to_string()), None),
        Answer::Halted(Halt::Closed, None),
    ];
    let mut all = vec![
        Problem::bad_request("offset", "is wrong."),
        Problem::unmet_header(409, "stream-ttl", "a store does not expire."),
        Problem::unmet_header(501, "stream-forked-from", "a store can't be a fork."),
        Problem::not_found(),
        Problem::method_not_allowed("GET"),
        Problem::too_large(1),
        Problem::too_slow(1.0),
        Problem::unsupported_media_type("text/plain"),
        Problem::no_token("authorization"),
        Problem::unauthorized("expired", "The token has expired."),
        Problem::not_permitted("tenant", "The token is for another tenant."),
        Problem::not_permitted("store", "The token is for other stores."),
        Problem::not_permitted("claim", "The token has no claim."),
        Problem::needs_scope("write"),
        Problem::keys_unavailable(1),
        Problem::forbidden("Local hosts only."),
        Problem::misconfigured("UPSTREAM_URL", "is wrong."),
        Problem::internal(),
        Problem::gone(),
        Problem::trimmed(),
        Problem::nothing_to_adopt(),
        Problem::beyond(7, 6),
        Problem::tenant_rate_limited(1),
        Problem::unknown_offset(),
        Problem::overloaded("arriving"),
        batch_error("{}"),
        batch_error("[1]"),
        batch_error("["),
    ];
    all.extend(answers.iter().filter_map(Answer::problem));
    all
}

#[test]
fn problem_types_pass_their_vectors() {
    let problems = problems();
    let vectors = vectors("problems.json");
    for (name, case, expected) in &vectors {
        let is_it = |problem: &&Problem| {
            let body = problem.to_json();
            let has_fields = case["fields"].as_object().is_none_or(|fields| {
                // The values of the other fields depend on the request.
                fields.iter().all(|(key, value)| key != "reason" || body.get(key) == Some(value))
                    && fields.keys().all(|key| body.get(key).is_some())
            });
            problem.kind == case["kind"] && problem.status == case["status"] && has_fields
        };
        let problem = problems.iter().find(is_it).unwrap_or_else(|| panic!("no problem is {name}"));
        assert_eq!(problem.tag, expected["tag"], "{name}");
    }
    for problem in &problems {
        let is_listed = vectors
            .iter()
            .any(|(_, case, _)| case["kind"] == problem.kind && case["status"] == problem.status);
        assert!(
            is_listed,
            "spec/problems.json has no case of {} with status {}",
            problem.kind, problem.status
        );
    }
}
