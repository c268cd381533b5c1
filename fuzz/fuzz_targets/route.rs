//! `route` on any request, and the offset and cursor that it lets through.
//!
//! The input is a method, a path and a query, a line each; the last two are also tried as they are
//! for a cursor and an offset.

#![no_main]

use headwater_core::event::{MAX_SEQ_NUM, Position};
use headwater_core::names::MAX_NAME_BYTES;
use headwater_core::problem::Problem;
use headwater_core::route::{Live, Read, Route, Target, Verb, route};
use libfuzzer_sys::fuzz_target;
use url::{Url, form_urlencoded};

type Query = Vec<(String, String)>;

fuzz_target!(|input: &str| {
    let mut lines = input.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, query) = (line(), line(), line());

    let pairs: Query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    answers(method, path, &pairs);
    let tokens = [("offset", query), ("cursor", path)]
        .map(|(name, value)| (name.to_string(), value.to_string()));
    answers("GET", "/v1/stream/t/s", &tokens.to_vec());
    // As the Worker is called: everything has been through a URL.
    if let Ok(url) = Url::parse(&format!("http://edge.test{path}?{query}")) {
        let pairs: Query = url.query_pairs().into_owned().collect();
        let cut = Target::of(url.as_str());
        assert_eq!((Some(cut.host), cut.path, &cut.query), (url.host_str(), url.path(), &pairs));
        answers(method, url.path(), &pairs);
    }
});

fn answers(method: &str, path: &str, query: &Query) {
    match route(method, &Target { host: "", path, query: query.clone() }, MAX_NAME_BYTES) {
        Ok(Route::Store(store, verb)) => {
            let segments: Vec<&str> = store.as_str().split('/').collect();
            assert!(segments.len() == 2 && segments.iter().all(|segment| !segment.is_empty()));
            let prefix = match verb {
                Verb::Inspect => "/inspect/api/",
                Verb::Adopt => "/v1/adopt/",
                _ => "/v1/stream/",
            };
            assert!(path.starts_with(prefix));
            match (method, verb) {
                ("GET", Verb::Read(read)) => can_be_passed_on(&read),
                ("GET" | "HEAD", Verb::Inspect) | ("POST", Verb::Adopt) => {}
                ("POST", Verb::Push)
                | ("HEAD", Verb::Head)
                | ("PUT", Verb::Create)
                | ("DELETE", Verb::Reset) => {}
                other => panic!("{other:?}"),
            }
        }
        Ok(without_a_store) => {
            let expected = match without_a_store {
                Route::Health => "/health",
                Route::Ready => "/ready",
                Route::Inspector => "/inspect/api",
                Route::Page(page) => page.path,
                Route::Store(..) => unreachable!(),
            };
            assert!(path == expected && matches!(method, "GET" | "HEAD"));
        }
        Err(problem) => refuses(&problem),
    }
}

/// The URL that `edge::read` makes of a read means upstream what it meant here, and nothing else.
fn can_be_passed_on(read: &Read) {
    let live = read.live.map(|live| match live {
        Live::LongPoll => "long-poll",
        Live::Sse => "sse",
    });
    let offset = match &read.from {
        Position::Offset(offset) => offset.0.as_str(),
        // The Sequencer says where that is.
        Position::After(seq) => return assert!(*seq <= MAX_SEQ_NUM),
    };
    let pairs = [("cursor", read.cursor.as_deref()), ("live", live), ("offset", Some(offset))];
    let pairs: Vec<(&str, &str)> =
        pairs.into_iter().filter_map(|(name, value)| value.map(|v| (name, v))).collect();
    let written: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();

    let url = Url::parse(&format!("http://log.test/v1/t/s?{}", written.join("&"))).unwrap();
    assert_eq!((url.host_str(), url.path(), url.fragment()), (Some("log.test"), "/v1/t/s", None));
    let understood: Query = url.query_pairs().into_owned().collect();
    let sent: Query =
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!(understood, sent);

    let tokens = [Some(offset), read.cursor.as_deref()];
    assert!(tokens.into_iter().flatten().all(|token| (1..=256).contains(&token.len())));
}

fn refuses(problem: &Problem) {
    assert!(matches!(problem.status, 400 | 404 | 405), "{problem:?}");
    assert_eq!(
        problem.header.as_deref().is_some_and(|(name, _)| *name == "allow"),
        problem.status == 405
    );
    assert!(!problem.detail.is_empty());
    assert_eq!(problem.to_json()["status"], problem.status);
}
