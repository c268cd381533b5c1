//! The table of request headers: what is honored, and the refusal of everything else.

use headwater_core::headers::{check, names, names_tag};
use headwater_core::problem::Problem;
use headwater_core::route::Verb;

fn ask(verb: &Verb, headers: &[(&'static str, &str)], has_body: bool) -> Result<bool, Problem> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.to_string())).collect();
    check(verb, &headers, has_body)
}

fn refusal(verb: &Verb, headers: &[(&'static str, &str)], has_body: bool) -> (u16, String) {
    let problem = ask(verb, headers, has_body).expect_err("refused");
    (problem.status, problem.fields["field"].as_str().unwrap().into())
}

#[test]
fn a_put_takes_json_and_may_ask_for_a_closed_stream() {
    for (headers, closed) in [
        (vec![], false),
        (vec![("content-type", "application/json")], false),
        (vec![("content-type", "Application/JSON; charset=utf-8")], false),
        (vec![("stream-closed", "TRUE")], true),
        // Any other value counts as no header (protocol §4.1).
        (vec![("stream-closed", "false")], false),
        (vec![("stream-closed", "1")], false),
        (vec![("stream-closed", "")], false),
    ] {
        assert_eq!(ask(&Verb::Create, &headers, false), Ok(closed), "{headers:?}");
    }
}

#[test]
fn a_put_that_no_store_can_honor_is_refused_by_name() {
    for (headers, status, field) in [
        (vec![("content-type", "text/plain")], 409, "content-type"),
        (vec![("content-type", "application/jsonl")], 409, "content-type"),
        (vec![("stream-ttl", "3600")], 409, "stream-ttl"),
        (vec![("stream-ttl", "0")], 409, "stream-ttl"),
        (vec![("stream-expires-at", "2030-01-02T03:04:05Z")], 409, "stream-expires-at"),
        (vec![("stream-expires-at", "2030-01-02t03:04:05.25+01:00")], 409, "stream-expires-at"),
        (vec![("stream-forked-from", "/v1/stream/t/s")], 501, "stream-forked-from"),
        (
            vec![("stream-forked-from", "/x"), ("stream-fork-offset", "1")],
            501,
            "stream-forked-from",
        ),
        (vec![("stream-seq", "1")], 400, "stream-seq"),
        (vec![("producer-id", "a")], 400, "producer-id"),
        (vec![("if-none-match", "*")], 400, "if-none-match"),
        (vec![("livestore-backend-id", "a")], 400, "livestore-backend-id"),
        // Values that are malformed, whatever the store is (protocol §5.1)
        (vec![("stream-ttl", "+1")], 400, "stream-ttl"),
        (vec![("stream-ttl", "01")], 400, "stream-ttl"),
        (vec![("stream-ttl", "1.0")], 400, "stream-ttl"),
        (vec![("stream-ttl", "")], 400, "stream-ttl"),
        (vec![("stream-expires-at", "tomorrow")], 400, "stream-expires-at"),
        (vec![("stream-expires-at", "2030-01-02T03:04:05")], 400, "stream-expires-at"),
        (vec![("stream-expires-at", "2030-01-02T03:04:05.Z")], 400, "stream-expires-at"),
        (vec![("stream-expires-at", "2030-01-02T03:04:0é")], 400, "stream-expires-at"),
        (
            vec![("stream-ttl", "1"), ("stream-expires-at", "2030-01-02T03:04:05Z")],
            400,
            "stream-ttl",
        ),
        (vec![("stream-fork-offset", "1")], 400, "stream-fork-offset"),
        (vec![("stream-fork-sub-offset", "0")], 400, "stream-fork-sub-offset"),
        (
            vec![("stream-forked-from", "/x"), ("stream-fork-sub-offset", "-1")],
            400,
            "stream-fork-sub-offset",
        ),
    ] {
        assert_eq!(refusal(&Verb::Create, &headers, false), (status, field.into()), "{headers:?}");
    }
    assert_eq!(refusal(&Verb::Create, &[("stream-closed", "true")], true), (400, "body".into()));
}

#[test]
fn a_post_is_a_push_or_closes_and_nothing_else() {
    for (headers, has_body, closes) in [
        (vec![("content-type", "application/json"), ("livestore-backend-id", "a")], true, false),
        (vec![("stream-closed", "true")], false, true),
        (vec![("stream-closed", "true"), ("content-type", "text/plain")], false, true),
        (vec![("stream-closed", "no")], true, false),
    ] {
        assert_eq!(ask(&Verb::Push, &headers, has_body), Ok(closes), "{headers:?}");
    }
    for (headers, has_body, field) in [
        (vec![("stream-closed", "true")], true, "stream-closed"),
        (vec![("stream-closed", "true"), ("producer-id", "a")], false, "producer-id"),
        (vec![("stream-closed", "true"), ("stream-seq", "1")], false, "stream-seq"),
        (vec![("stream-seq", "0000000000000000")], true, "stream-seq"),
        (vec![("producer-id", "")], true, "producer-id"),
        (vec![("producer-epoch", "0")], true, "producer-epoch"),
        (vec![("producer-seq", "x")], true, "producer-seq"),
        (vec![("stream-ttl", "1")], true, "stream-ttl"),
        (vec![("stream-expires-at", "x")], true, "stream-expires-at"),
        (vec![("stream-forked-from", "/x")], true, "stream-forked-from"),
        (vec![("stream-fork-offset", "1")], true, "stream-fork-offset"),
        (vec![("stream-fork-sub-offset", "1")], true, "stream-fork-sub-offset"),
        (vec![("if-match", "\"x\"")], true, "if-match"),
    ] {
        assert_eq!(refusal(&Verb::Push, &headers, has_body), (400, field.into()), "{headers:?}");
    }
}

#[test]
fn no_other_write_honors_any_of_the_headers() {
    for verb in [Verb::Reset, Verb::Adopt] {
        for name in names().filter(|name| *name != "content-type") {
            assert_eq!(refusal(&verb, &[(name, "true")], false), (400, name.into()), "{verb:?}");
        }
        assert_eq!(ask(&verb, &[("content-type", "text/plain")], false), Ok(false));
    }
}

#[test]
fn if_none_match_names_a_tag_by_itself_in_a_list_as_weak_or_by_a_star() {
    let tag = r#""-1:12,34""#;
    for named in [
        tag,
        r#" "-1:12,34" "#,
        r#"W/"-1:12,34""#,
        "*",
        r#""a", "-1:12,34""#,
        r#"W/"a",W/"-1:12,34""#,
    ] {
        assert!(names_tag(named, tag), "{named}");
        assert!(names_tag(named, &format!("W/{tag}")), "{named}");
    }
    for other in ["", r#""12""#, "-1:12,34", r#""a", "b""#, r#""**""#] {
        assert!(!names_tag(other, tag), "{other}");
    }
    // A tag without quotes, as a server may send
    assert!(names_tag("abc", "abc"));
    assert!(!names_tag("abcd", "abc"));
}
