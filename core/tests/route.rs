//! Routes, and the refusal of each bad address.

use headwater_core::auth::Scope;
use headwater_core::event::{BackendId, Offset, Position};
use headwater_core::names::{MAX_NAME_BYTES, StorePath};
use headwater_core::problem::Problem;
use headwater_core::route::{
    Live, PAGES, Read, Route, Target, Verb, incarnation_path, is_inspector, route,
};

fn get(query: &[(&str, &str)]) -> Result<Read, Problem> {
    let query = query.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    match route("GET", &Target { host: "h", path: "/v1/stream/t/s", query }, MAX_NAME_BYTES)? {
        Route::Store { verb: Verb::Read(read), .. } => Ok(read),
        other => panic!("{other:?}"),
    }
}

fn at(store: StorePath, incarnation: Option<&str>, verb: Verb) -> Route {
    Route::Store { store, incarnation: incarnation.map(|id| BackendId(id.into())), verb }
}

#[test]
fn a_path_with_two_names_and_a_backend_id_is_an_incarnation() {
    let store = || StorePath::new("acme/x", "notes").unwrap();
    let find = |method: &str, path: &str| route(method, &Target::of(path), MAX_NAME_BYTES);
    for id in ["6f0c", "path:acme~2Fx/notes", "a%2F", "~", &"x".repeat(1024)] {
        let id = BackendId(id.into());
        let path = incarnation_path("/v1/stream/acme%2Fx/notes", &id).unwrap();
        assert_eq!(path.matches('/').count(), 5, "{path}");
        assert_eq!(find("PUT", &path), Ok(at(store(), Some(&id.0), Verb::Create)));
    }
    for path in ["/v1/incarnation/acme/notes", "/v1/incarnation/acme/notes/id/x"] {
        assert_eq!(find("GET", path).unwrap_err().status, 404, "{path}");
    }
    let too_long = format!("/v1/incarnation/acme/notes/{}", "x".repeat(1025));
    for path in ["/v1/incarnation/acme/notes/", "/v1/incarnation/acme/notes/%C3%A9", &too_long] {
        let refusal = find("GET", path).unwrap_err();
        assert_eq!(
            (refusal.status, &refusal.to_json()["field"]),
            (400, &"backendId".into()),
            "{path}"
        );
    }
    assert_eq!(incarnation_path("/v1/incarnation/acme/notes/id", &BackendId("id".into())), None);
}

#[test]
fn a_path_with_two_names_is_a_store() {
    let store = |tenant, store| StorePath::new(tenant, store).unwrap();
    let push = |path: &str| route("POST", &Target::of(path), MAX_NAME_BYTES);
    assert_eq!(push("/v1/stream/acme/notes"), Ok(at(store("acme", "notes"), None, Verb::Push)));
    assert_eq!(push("/v1/stream/a%2Fb/%F0%9F%98%80"), Ok(at(store("a/b", "😀"), None, Verb::Push)));
    for path in [
        "/",
        "/v1/stream",
        "/v1/stream/t",
        "/v1/stream/t/",
        "/v1/stream//s",
        "/v1/stream/t/s/",
        "/v1/stream/t/s/x",
        "/v2/stream/t/s",
    ] {
        assert_eq!(push(path).unwrap_err().status, 404, "{path}");
    }
    assert_eq!(push("/v1/stream/t/%zz").unwrap_err().status, 400);
}

#[test]
fn a_url_is_cut_into_its_parts() {
    let cut = |url: &str| {
        let Target { host, path, query } = Target::of(url);
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{host} {path} {}", query.join(" "))
    };
    assert_eq!(
        cut("https://example.com/v1/a%2Fb?offset=-1&x=%20+y"),
        "example.com /v1/a%2Fb offset=-1 x=  y"
    );
    assert_eq!(cut("http://127.0.0.1:8787/?a=/&b=?"), "127.0.0.1 / a=/ b=?");
    assert_eq!(cut("http://[::1]:8787/health#x?y"), "[::1] /health ");
    assert_eq!(cut("http://[::1]/health"), "[::1] /health ");
    assert_eq!(cut("http://localhost:80@evil.test:1/"), "evil.test / ");
    assert_eq!(cut("http://localhost"), "localhost  ");
    assert_eq!(cut("/v1/stream/a/b"), " /v1/stream/a/b ");
}

#[test]
fn each_method_of_a_store_has_its_verb() {
    for (method, verb) in
        [("POST", Verb::Push), ("HEAD", Verb::Head), ("PUT", Verb::Create), ("DELETE", Verb::Reset)]
    {
        match route(method, &Target::of("/v1/stream/t/s"), MAX_NAME_BYTES) {
            Ok(Route::Store { verb: found, .. }) => assert_eq!(found, verb),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(route("GET", &Target::of("/health"), MAX_NAME_BYTES), Ok(Route::Health));
    assert_eq!(route("HEAD", &Target::of("/ready"), MAX_NAME_BYTES), Ok(Route::Ready));
    let refused = route("PATCH", &Target::of("/v1/stream/t/s"), MAX_NAME_BYTES).unwrap_err();
    assert_eq!(
        (refused.status, refused.header.as_deref()),
        (405, Some(&("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS".to_string())))
    );
    assert_eq!(route("POST", &Target::of("/health"), MAX_NAME_BYTES).unwrap_err().status, 405);
    assert_eq!(route("POST", &Target::of("/ready"), MAX_NAME_BYTES).unwrap_err().status, 405);
}

#[test]
fn a_post_that_only_closes_needs_an_administrator() {
    for (stream_closed, has_body, verb) in [
        (Some("true"), false, Verb::Close),
        (Some("TRUE"), false, Verb::Close),
        (Some("true"), true, Verb::Push),
        (Some("yes"), false, Verb::Push),
        (None, false, Verb::Push),
    ] {
        assert_eq!(Verb::Push.closing(stream_closed, has_body), verb);
    }
    assert_eq!(Verb::Create.closing(Some("true"), false), Verb::Create);
    assert_eq!(Verb::Close.scope(), Scope::Admin);
}

#[test]
fn a_post_of_an_administrator_adopts_a_log() {
    let adopt = |method| route(method, &Target::of("http://h/v1/adopt/acme/notes"), 100);
    let Ok(Route::Store { store, verb, .. }) = adopt("POST") else { panic!("no store") };
    assert_eq!((store.as_str(), &verb, verb.scope()), ("acme/notes", &Verb::Adopt, Scope::Admin));
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let refused = adopt(method).expect_err("refused");
        assert_eq!(
            (refused.status, refused.header.as_deref()),
            (405, Some(&("allow", "POST, OPTIONS".to_string())))
        );
    }
}

#[test]
fn a_read_takes_offset_after_live_and_cursor() {
    let offset = |o: &str| Position::Offset(Offset(o.into()));
    assert_eq!(get(&[]), Ok(Read { from: offset("-1"), live: None, cursor: None }));
    assert_eq!(
        get(&[("offset", "12_34"), ("other", "x")]),
        Ok(Read { from: offset("12_34"), live: None, cursor: None })
    );
    assert_eq!(
        get(&[("offset", "now"), ("live", "long-poll"), ("cursor", "7")]),
        Ok(Read { from: offset("now"), live: Some(Live::LongPoll), cursor: Some("7".into()) })
    );
    for (query, from) in [
        (vec![("after", "0")], Position::After(0)),
        (vec![("after", "9007199254740991"), ("offset", "-1")], Position::After((1 << 53) - 1)),
        (vec![("after", "7"), ("offset", "12_34")], offset("12_34")),
        (vec![("after", "7"), ("offset", "now")], offset("now")),
    ] {
        assert_eq!(get(&query), Ok(Read { from, live: None, cursor: None }), "{query:?}");
    }
    assert_eq!(
        get(&[("after", "7"), ("live", "sse")]),
        Ok(Read { from: Position::After(7), live: Some(Live::Sse), cursor: None })
    );
    for (query, field) in [
        (vec![("after", "")], "after"),
        (vec![("after", "-1")], "after"),
        (vec![("after", "+1")], "after"),
        (vec![("after", "1.0")], "after"),
        (vec![("after", "9007199254740992")], "after"),
        (vec![("after", "1"), ("after", "1")], "after"),
        (vec![("after", "x"), ("offset", "12_34")], "after"),
        (vec![("live", "sse")], "offset"),
        (vec![("offset", "1"), ("live", "yes")], "live"),
        (vec![("offset", "1"), ("offset", "2")], "offset"),
        (vec![("offset", "")], "offset"),
        (vec![("offset", "a&b=c")], "offset"),
        (vec![("offset", "a b")], "offset"),
        (vec![("offset", "a+b")], "offset"),
        (vec![("offset", "../x")], "offset"),
        (vec![("offset", "é")], "offset"),
        (vec![("offset", "1"), ("cursor", "a/b")], "cursor"),
    ] {
        let refused = get(&query).unwrap_err();
        assert_eq!((refused.status, &refused.fields["field"]), (400, &field.into()), "{query:?}");
    }
    assert_eq!(get(&[("offset", &"1".repeat(257))]).unwrap_err().status, 400);
}

#[test]
fn the_inspector_has_three_files_and_a_route_for_each_store() {
    let get = |path: &str| route("GET", &Target::of(path), 10);
    for page in &PAGES {
        assert_eq!(get(page.path), Ok(Route::Page(page)));
        assert_eq!(route("POST", &Target::of(page.path), 10).unwrap_err().status, 405);
    }
    assert_eq!(get("/inspect?tenant=acme"), Ok(Route::Page(&PAGES[0])));
    assert_eq!(get("/inspect/api"), Ok(Route::Inspector));
    let store = StorePath::new("a/b", "notes").unwrap();
    assert_eq!(get("/inspect/api/a%2Fb/notes"), Ok(at(store, None, Verb::Inspect)));
    assert_eq!(Verb::Inspect.scope(), Scope::Admin);
    for path in [
        "/inspect/",
        "/inspect/index.html",
        "/inspect/api/",
        "/inspect/api/t",
        "/inspect/api/t/s/x",
        "/inspector",
    ] {
        assert_eq!(get(path).unwrap_err().status, 404, "{path}");
    }
    assert_eq!(get("/inspect/api/t/%zz").unwrap_err().status, 400);
    assert_eq!(get("/inspect/api/t/longer-than-ten").unwrap_err().status, 400);
    for method in ["POST", "PUT", "DELETE"] {
        let problem = route(method, &Target::of("/inspect/api/t/s"), 10).unwrap_err();
        assert_eq!(
            (problem.status, problem.header.as_deref()),
            (405, Some(&("allow", "GET, HEAD, OPTIONS".to_string()))),
            "{method}"
        );
    }
}

#[test]
fn a_path_of_the_inspector_is_recognized() {
    for path in ["/inspect", "/inspect/", "/inspect/api/t/s", "/inspect/anything"] {
        assert!(is_inspector(path), "{path}");
    }
    for path in ["/", "/inspector", "/v1/stream/inspect/s", "/health"] {
        assert!(!is_inspector(path), "{path}");
    }
}
