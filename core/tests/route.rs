//! Routes, and the refusal of each bad address.

use headwater_core::auth::Scope;
use headwater_core::event::{BackendId, Offset, Position};
use headwater_core::log::{LogPart, LogPlace};
use headwater_core::names::{MAX_NAME_BYTES, StorePath};
use headwater_core::problem::Problem;
use headwater_core::route::{
    Live, PAGES, Read, Route, Target, Verb, incarnation_url, is_inspector, route,
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
        let path = incarnation_url("/v1/stream/acme%2Fx/notes", &id).unwrap();
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
    assert_eq!(incarnation_url("/v1/incarnation/acme/notes/id", &BackendId("id".into())), None);
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
fn a_post_of_an_administrator_moves_or_restores_a_log() {
    let verb = |url: &str| match route("POST", &Target::of(&format!("http://h/v1/{url}")), 100) {
        Ok(Route::Store { verb, .. }) => {
            assert_eq!(verb.scope(), Scope::Admin);
            Ok(verb)
        }
        Ok(other) => panic!("{url}: {other:?}"),
        Err(problem) => Err(problem.to_json()["field"].as_str().map(String::from)),
    };
    let field = |name: &str| Err(Some(name.to_string()));
    assert_eq!(verb("move/t/s?to=upstream"), Ok(Verb::Move(LogPlace::Upstream)));
    assert_eq!(verb("move/t/s?to=built-in"), Ok(Verb::Move(LogPlace::BuiltIn)));
    for wrong in
        ["move/t/s", "move/t/s?to=", "move/t/s?to=Upstream", "move/t/s?to=upstream&to=upstream"]
    {
        assert_eq!(verb(wrong), field("to"), "{wrong}");
    }
    let part = |after, is_last| Ok(Verb::Restore(LogPart { after, is_last }));
    assert_eq!(verb("restore/t/s?after=0"), part(0, false));
    assert_eq!(verb("restore/t/s?after=7&end=true"), part(7, true));
    for wrong in
        ["restore/t/s", "restore/t/s?after=", "restore/t/s?after=-1", "restore/t/s?after=1.5"]
    {
        assert_eq!(verb(wrong), field("after"), "{wrong}");
    }
    assert_eq!(verb("restore/t/s?after=0&end=false"), field("end"));
    for path in ["move/t/s?to=upstream", "restore/t/s?after=0"] {
        let target = format!("http://h/v1/{path}");
        let refused = route("GET", &Target::of(&target), 100).expect_err("refused");
        assert_eq!(refused.status, 405);
    }
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
fn what_changes_the_stream_as_a_whole_needs_an_administrator() {
    for verb in [Verb::Reset, Verb::Close, Verb::Delete, Verb::Adopt] {
        assert_eq!(verb.scope(), Scope::Admin, "{verb:?}");
    }
}

#[test]
fn a_read_takes_offset_after_live_and_cursor() {
    let offset = |o: &str| Position::Offset(Offset(o.into()));
    let catch_up = |from| Ok(Read { from, live: None, cursor: None, whole: false });
    assert_eq!(get(&[]), catch_up(offset("-1")));
    assert_eq!(get(&[("offset", "12_34"), ("other", "x")]), catch_up(offset("12_34")));
    assert_eq!(
        get(&[("offset", "now"), ("live", "long-poll"), ("cursor", "7")]),
        Ok(Read {
            from: offset("now"),
            live: Some(Live::LongPoll),
            cursor: Some("7".into()),
            whole: false
        })
    );
    for (query, from) in [
        (vec![("after", "0")], Position::After(0)),
        (vec![("after", "9007199254740991"), ("offset", "-1")], Position::After((1 << 53) - 1)),
        (vec![("after", "7"), ("offset", "12_34")], offset("12_34")),
        (vec![("after", "7"), ("offset", "now")], offset("now")),
    ] {
        assert_eq!(get(&query), catch_up(from), "{query:?}");
    }
    assert_eq!(
        get(&[("after", "7"), ("live", "sse")]),
        Ok(Read { from: Position::After(7), live: Some(Live::Sse), cursor: None, whole: false })
    );
    for (query, from) in [
        (vec![("whole", "true")], offset("-1")),
        (vec![("whole", "true"), ("offset", "12_34")], offset("12_34")),
        (vec![("whole", "true"), ("after", "7")], Position::After(7)),
    ] {
        let whole = Read { from, live: None, cursor: None, whole: true };
        assert_eq!(get(&query), Ok(whole), "{query:?}");
    }
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
        (vec![("whole", "")], "whole"),
        (vec![("whole", "false")], "whole"),
        (vec![("whole", "True")], "whole"),
        (vec![("whole", "true"), ("whole", "true")], "whole"),
        (vec![("offset", "1"), ("whole", "true"), ("live", "sse")], "whole"),
        (vec![("offset", "1"), ("whole", "true"), ("live", "long-poll")], "whole"),
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

#[test]
fn the_address_of_an_incarnation_comes_from_the_url_of_the_store() {
    let id = BackendId("a/b".into());
    for url in [
        "https://u.test:8787/v1/stream/t%2F/s",
        "https://u.test:8787/v1/stream/t%2F/s?x=/v1/stream/",
    ] {
        assert_eq!(
            incarnation_url(url, &id).unwrap(),
            "https://u.test:8787/v1/incarnation/t%2F/s/a%2Fb"
        );
    }
    assert_eq!(incarnation_url("http://h/v1/adopt/t/s", &id), None);
    let path = |id: &str| {
        incarnation_url("/v1/stream/a%2Fb/%F0%9F%98%80@x", &BackendId(id.into())).unwrap()
    };
    assert_eq!(path("6f-0_c.~"), "/v1/incarnation/a%2Fb/%F0%9F%98%80@x/6f-0_c.~");
    assert_eq!(path("path:a~2Fb/x"), "/v1/incarnation/a%2Fb/%F0%9F%98%80@x/path%3Aa~2Fb%2Fx");
    let id = BackendId("id".into());
    let twice = "http://h/v1/incarnation/v1/stream/x";
    assert_eq!(incarnation_url(twice, &id), None, "the names are taken for the route");
    let names = incarnation_url("/v1/stream/v1/stream?x=/v1/stream/", &id);
    assert_eq!(names.as_deref(), Some("/v1/incarnation/v1/stream/id"));
    for foreign in ["", ".", "..", "a b", "é", &"x".repeat(1025)] {
        assert_eq!(incarnation_url("/v1/stream/a/b", &BackendId(foreign.into())), None);
    }
}
