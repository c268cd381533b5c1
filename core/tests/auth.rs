//! Tokens, and the stores that a grant opens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headwater_core::auth::claims::{Claim, Grant, Policy, Scope, Stores};
use headwater_core::auth::token::{MAX_TOKEN, Token};
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: f64 = 1_800_000_000.0;

fn policy() -> Policy {
    let claim = |name: &str| Claim { name: name.into(), fallback: None };
    Policy {
        issuers: vec![],
        audiences: vec![],
        tenant: claim("tenant"),
        stores: claim("stores"),
        scope: claim("scope"),
    }
}

fn claims() -> Value {
    json!({ "exp": NOW + 300.0, "tenant": "acme", "stores": ["notes"], "scope": "read write" })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn grant_by(policy: &Policy, claims: &Value) -> Result<Grant, Problem> {
    policy.grant(claims.as_object().unwrap(), NOW)
}

fn reason(result: Result<impl std::fmt::Debug, Problem>) -> (u16, String) {
    let problem = result.unwrap_err();
    (problem.status, problem.fields["reason"].as_str().unwrap().into())
}

fn permits(claims: Value, tenant: &str, store: &str, scope: Scope) -> bool {
    let grant = grant_by(&policy(), &claims).unwrap();
    grant.permits(&StorePath::new(tenant, store).unwrap(), scope).is_ok()
}

#[test]
fn exp_and_nbf_have_a_minute_of_leeway() {
    let at = |name: &str, seconds: f64| {
        grant_by(&policy(), &with(json!({ name: NOW + seconds }))).is_ok()
    };
    assert!(at("exp", -59.0) && !at("exp", -60.0));
    assert!(at("nbf", 60.0) && !at("nbf", 60.5));
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(reason(grant_by(&policy(), &without)), (401, "exp".into()));
    for wrong in [json!("1800000300"), json!(null), json!([NOW + 300.0])] {
        assert_eq!(
            reason(grant_by(&policy(), &with(json!({ "exp": wrong })))),
            (401, "exp".into())
        );
    }
}

#[test]
#[allow(clippy::float_cmp, reason = "whole seconds are exact in f64")]
fn a_claim_is_found_by_name_then_by_path_then_by_its_fallback() {
    let mut policy = policy();
    policy.tenant.name = "https://example.com/tenant".into();
    policy.scope = Claim { name: "o.permissions".into(), fallback: Some("read".into()) };
    policy.stores = Claim { name: "o.stores".into(), fallback: Some("*".into()) };
    let claims = with(json!({
        "https://example.com/tenant": "globex", "o": { "permissions": ["write"] }, "o.stores": ["exact"]
    }));
    let Grant::Token { tenant, stores, scopes, until } = grant_by(&policy, &claims).unwrap() else {
        panic!()
    };
    assert_eq!(
        (tenant.as_str(), stores, scopes),
        ("globex", Stores::Named(vec!["exact".into()]), vec!["write".to_string()])
    );
    assert_eq!(until, NOW + 360.0);
    let Grant::Token { stores, scopes, .. } =
        grant_by(&policy, &with(json!({ "https://example.com/tenant": "globex" }))).unwrap()
    else {
        panic!()
    };
    assert_eq!((stores, scopes), (Stores::All, vec!["read".to_string()]));
    // A wrong claim does not fall back.
    let wrong = with(json!({ "https://example.com/tenant": "globex", "o": { "stores": 7 } }));
    assert_eq!(reason(grant_by(&policy, &wrong)), (403, "claim".into()));
}

#[test]
fn a_grant_opens_the_stores_that_it_names_and_no_others() {
    assert!(permits(claims(), "acme", "notes", Scope::Read));
    assert!(permits(claims(), "acme", "notes", Scope::Write));
    assert!(!permits(claims(), "acme", "notes", Scope::Admin));
    assert!(!permits(claims(), "Acme", "notes", Scope::Read));
    assert!(!permits(claims(), "acme", "notes2", Scope::Read));
    assert!(permits(with(json!({ "stores": "*" })), "acme", "anything", Scope::Read));
    // Only the text is a wildcard. In a list, `*` is a name like any other.
    let starred = with(json!({ "stores": ["*"] }));
    assert!(!permits(starred.clone(), "acme", "anything", Scope::Read));
    assert!(permits(starred.clone(), "acme", "*", Scope::Read));
    assert!(!permits(starred, "globex", "*", Scope::Read));
    assert!(!permits(with(json!({ "stores": ["notes", "*"] })), "acme", "anything", Scope::Read));
    // There is no wildcard for tenants and scopes.
    assert!(!permits(with(json!({ "tenant": "*" })), "acme", "notes", Scope::Read));
    assert!(!permits(with(json!({ "scope": "*" })), "acme", "notes", Scope::Read));
    assert!(!permits(with(json!({ "scope": ["*"] })), "acme", "notes", Scope::Read));
    // No patterns, no prefixes, no lists in a text.
    assert!(!permits(with(json!({ "stores": ["no*"] })), "acme", "notes", Scope::Read));
    assert!(!permits(with(json!({ "stores": "a notes" })), "acme", "notes", Scope::Read));
    assert!(!permits(with(json!({ "scope": "reader" })), "acme", "notes", Scope::Read));
    assert!(!permits(with(json!({ "scope": "" })), "acme", "notes", Scope::Read));
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c~*/]{1,3}", "[a-z]{190,210}", any::<String>()]
        .prop_filter("a name", |name| !name.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// The comparison of encoded names gives the result of a comparison of the names.
    #[test]
    fn a_grant_never_opens_a_store_with_another_name(tenant in names(), store in names(), mine in names(), notes in names()) {
        let held = with(json!({ "tenant": mine, "stores": [notes] }));
        let expected = tenant == mine && store == notes;
        prop_assert_eq!(permits(held, &tenant, &store, Scope::Read), expected);
    }

    #[test]
    fn arbitrary_text_never_makes_the_parsers_panic(text in any::<String>()) {
        if let Ok(token) = Token::parse(&text) {
            let _ = token.claims();
        }
    }
}

fn token(header: &str, payload: &str, signature: &[u8]) -> String {
    [header.as_bytes(), payload.as_bytes(), signature]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".")
}

#[test]
fn a_token_is_parsed_into_its_parts() {
    let text = token(r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#, r#"{"sub":"me"}"#, &[1, 2]);
    let parsed = Token::parse(&text).unwrap();
    assert_eq!((parsed.algorithm.as_str(), parsed.key_id.as_deref()), ("RS256", Some("k")));
    assert_eq!(parsed.claims().unwrap()["sub"], "me");
}

#[test]
fn a_text_that_is_not_a_signed_token_is_refused() {
    let good = r#"{"alg":"HS256"}"#;
    let parse = |text: &str| reason(Token::parse(text));
    let malformed = (401, "malformed".to_string());
    for text in ["", "a", "a.b", "a.b.c.d", "..", &"a".repeat(MAX_TOKEN + 1)] {
        assert_eq!(parse(text), malformed);
    }
    for header in [
        "[]",
        "{}",
        r#"{"alg":7}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["b64"]}"#,
    ] {
        assert_eq!(parse(&token(header, "{}", b"s")), malformed, "{header}");
    }
    assert_eq!(parse(&token(r#"{"alg":"HS256","typ":"logout+jwt"}"#, "{}", b"s")), malformed);
    for algorithm in ["none", "None", "hs256", "HS512", "RS512", "PS256", "ES384", ""] {
        let header = json!({ "alg": algorithm }).to_string();
        assert_eq!(parse(&token(&header, "{}", b"")), (401, "algorithm".into()), "{algorithm}");
    }
    // Each signature has one spelling: without padding, in the URL alphabet, and without stray bits.
    let text = token(good, "{}", &[0xfb, 0xff]);
    assert!(Token::parse(&text).is_ok() && text.ends_with("-_8"));
    for ending in ["+/8", "-_8=", "-_9", "-_8\n"] {
        assert_eq!(parse(&text.replace("-_8", ending)), malformed, "{ending}");
    }
    for payload in ["", "7", "[]", "{"] {
        assert_eq!(
            reason(Token::parse(&token(good, payload, b"s")).unwrap().claims()),
            malformed,
            "{payload}"
        );
    }
}
