//! The line and the data point of a request. Dashboards and alerts depend on these formats.

use headwater_core::batch::{self, BatchLimits};
use headwater_core::event::ROOT;
use headwater_core::names::{MAX_NAME_BYTES, StorePath};
use headwater_core::request_log::{Entry, LogRequests, Point};
use headwater_core::route::{Route, Target, route};
use headwater_core::sequencer::Answer;

const LIMITS: BatchLimits = BatchLimits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20 };

fn entry(method: &str, url: &str) -> Entry {
    let mut entry = Entry::new(method.into(), Some("8f1c2d3e4f5a6b7c-FRA"), 1_000);
    match route(method, &Target::of(url), MAX_NAME_BYTES) {
        Ok(Route::Store { store, verb, .. }) => entry.aims(&store, &verb),
        other => panic!("{other:?}"),
    }
    entry
}

fn push() -> Entry {
    let mut entry = entry("POST", "https://h/v1/stream/a%40b/notes");
    let body =
        br#"[{"name":"n","args":{},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}]"#;
    entry.waits.lap("body", 1_002);
    entry.brings(&batch::check(body, LIMITS).unwrap());
    entry.waits.lap("sequencer", 1_009);
    entry
}

#[test]
fn a_ray_without_a_location_of_cloudflare_leaves_the_colo_out() {
    let colo = |ray| Entry::new("GET".into(), Some(ray), 0).colo;
    assert_eq!(colo("8a2f-FRA").as_deref(), Some("FRA"));
    for ray in ["8a2f", "8a2f-", "8a2f-fra", "8a2f-FRA\u{0}", "8a2f-anything else", "8a2f-FRAFRA"] {
        assert_eq!(colo(ray), None, "{ray}");
    }
}

#[test]
fn an_accepted_push_has_a_line_with_its_batch() {
    let mut entry = push();
    entry.outcome = "accepted";
    entry.answered(200, 1_010);
    assert_eq!(entry.waits.header(entry.ms), "body;dur=2, sequencer;dur=7, total;dur=10");
    assert_eq!(
        serde_json::to_string(&entry).unwrap(),
        r#"{"log":"request","method":"POST","route":"push","tenant":"a~40b","store":"DIGEST","status":200,"outcome":"accepted","ms":10,"waits":{"body":2,"sequencer":7},"events":1,"bytes":83,"first":1,"last":1,"colo":"FRA"}"#
            .replace("DIGEST", &StorePath::new("a@b", "notes").unwrap().digest())
    );
}

#[test]
fn a_refused_push_has_a_line_and_a_point_with_the_problem() {
    let mut entry = push();
    entry.refused(&Answer::Gap { head: ROOT, parent: 7 }.problem().unwrap());
    entry.answered(409, 1_010);
    let line = serde_json::to_value(&entry).unwrap();
    assert_eq!(
        [&line["outcome"], &line["problem"], &line["reason"]],
        ["InvalidPushError", "invalid-push", "gap"]
    );
    assert_eq!(
        entry.point(),
        Point {
            index: "a~40b",
            blobs: [
                "push",
                "InvalidPushError",
                "invalid-push",
                "gap",
                "",
                "",
                &entry.store.clone().unwrap(),
                "FRA"
            ]
            .map(Into::into),
            doubles: [409., 10., 7., 0., 1., 83.],
        }
    );
}

#[test]
fn a_live_read_has_a_point_with_its_kind_and_cache() {
    let mut entry = entry("GET", "https://h/v1/stream/acme/notes?offset=-1&live=sse");
    entry.cache = Some("BYPASS".into());
    entry.answered(200, 1_000);
    let point = entry.point();
    assert_eq!(point.blobs[..6], ["read", "ok", "", "", "BYPASS", "sse"]);
}

#[test]
fn the_index_of_a_point_with_a_long_tenant_is_cut() {
    let tenant = "t".repeat(150);
    let entry = entry("GET", &format!("https://h/v1/stream/{tenant}/notes"));
    assert_eq!(entry.point().index, &tenant[..96]);
}

/// The digest is that of `printf %s 'acme/notes' | sha256sum | cut -c 1-12`.
#[test]
fn a_store_is_named_by_its_digest() {
    let digest = |tenant, store| StorePath::new(tenant, store).unwrap().digest();
    assert_eq!(digest("acme", "notes"), "9bafbc7c6b38");
    assert_ne!(digest("acme", "notes"), digest("acme2", "notes"));
}

#[test]
fn statuses_of_ordinary_operation_are_no_errors() {
    let wanted = |which: &str| {
        let which = LogRequests::named(which).unwrap();
        [200, 304, 400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503]
            .into_iter()
            .filter(|s| which.wants(*s))
            .collect()
    };
    let errors: Vec<u16> = wanted("errors");
    assert_eq!(errors, [400, 403, 422, 429, 500, 502, 503]);
    assert_eq!([wanted("all").len(), wanted("none").len()], [13, 0]);
    assert_eq!(LogRequests::named("some"), None);
}
