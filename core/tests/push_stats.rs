//! The push statistics of the inspector: counts by outcome, and the last pushes.

use headwater_core::batch::{Batch, BatchLimits, check};
use headwater_core::problem::Problem;
use headwater_core::push_stats::{PushStats, RECENT};
use serde_json::{Value, json};

fn batch() -> Batch {
    let body = br#"[{"name":"secret","args":{"password":"hunter2"},"seqNum":8,"parentSeqNum":7,"clientId":"c","sessionId":"s"}]"#;
    check(body, BatchLimits { events: 10, bytes: 1000, event_bytes: 1000 }).unwrap()
}

#[test]
fn pushes_are_counted_by_outcome_and_shown_without_their_events() {
    let mut stats = PushStats::new(1_000);
    stats.count(2_030, 30, Some(&batch()), Ok("accepted"));
    stats.count(3_001, 1, None, Err(&Problem::too_large(5)));
    stats.count(4_000, 0, Some(&batch()), Ok("accepted"));
    let shown = json!(stats);
    assert_eq!(shown["since"], 1_000);
    assert_eq!(shown["counts"], json!([["accepted", 2], ["too-large", 1]]));
    let push = &shown["recent"][0];
    assert_eq!(
        (&push["at"], &push["ms"], &push["outcome"]),
        (&json!(2_030), &json!(30), &json!("accepted"))
    );
    assert_eq!((&push["batch"]["first"], &push["batch"]["last"]), (&json!(8), &json!(8)));
    assert_eq!(push["detail"], Value::Null);
    assert_eq!(
        shown["recent"][1]["detail"],
        "The body is larger than 5 bytes. Send fewer or smaller events."
    );
    assert_eq!(shown["recent"][1]["batch"], Value::Null);
    assert!(!shown.to_string().contains("secret") && !shown.to_string().contains("hunter2"));
}

#[test]
fn the_list_and_the_quotes_of_refusals_are_bounded() {
    let mut stats = PushStats::new(0);
    let long = "x".repeat(100_000);
    for now in 0..200 {
        stats.count(now, 0, None, Err(&Problem::unsupported_media_type(&long)));
    }
    let shown = json!(stats);
    assert_eq!(shown["counts"], json!([["unsupported-media-type", 200]]));
    let recent = shown["recent"].as_array().unwrap();
    assert_eq!((recent.len(), &recent[0]["at"]), (RECENT, &json!(200 - RECENT)));
    assert_eq!(recent[0]["detail"].as_str().unwrap().len(), 300);
}
