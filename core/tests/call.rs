//! The calls between a Worker and a Sequencer of different builds, which meet for minutes after a deployment or a rollback.
//! The texts are those of real builds. Never change them, only add to them.

use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Fingerprint, Offset, Position};
use headwater_core::sequencer::call::{Ask, Call, Inspection, Located, ReadStart};
use headwater_core::sequencer::{Answer, Need, Op};
use serde_json::{Value, json};

/// A push of the build before calls had a version.
const PUSH: &str = r#"{"path":"acme/notes","ask":{"Op":{"Push":{"batch":{"parent":2,"first":3,"last":4,"events":2,"bytes":217,"fingerprint":"b97959114c78bd25d643809123154b9d"},"backend_id":"b"}}}}"#;

/// An acceptance of that build.
const ACCEPTED: &str = r#"{"Accepted":{"backend_id":"b","head":4,"offset":"0004","events":4,"bytes":400,"sealed":{"index":"0000","offset":"-1","events":0,"bytes":0},"made_by":[2,"b97959114c78bd25d643809123154b9d"]}}"#;

fn read(call: &str) -> Call {
    serde_json::from_str(call).unwrap_or_else(|error| panic!("{call}: {error}"))
}

#[test]
fn a_call_of_an_earlier_build_is_understood() {
    let Call { version, path, ask: Ask::Op(Op::Push { batch, backend_id }) } = read(PUSH) else {
        panic!("no push")
    };
    assert_eq!(
        (version, path.as_str(), backend_id),
        (0, "acme/notes", Some(BackendId("b".into())))
    );
    let fingerprint = Fingerprint::from_hex("b97959114c78bd25d643809123154b9d").expect("32 digits");
    assert_eq!(batch, Batch { parent: 2, first: 3, last: 4, events: 2, bytes: 217, fingerprint });
    for ask in [
        r#"{"Op":"Ensure"}"#,
        r#"{"Op":"Reset"}"#,
        r#"{"Op":{"Close":null}}"#,
        r#"{"Op":{"Delete":"b"}}"#,
        r#"{"Op":{"Look":"Fresh"}}"#,
        r#"{"Look":"Known"}"#,
        r#"{"Look":{"Reaching":"0004"}}"#,
        r#"{"Locate":{"Offset":"-1"}}"#,
        r#"{"Move":"built-in"}"#,
        r#"{"Restore":{"after":0,"is_last":true}}"#,
        r#"{"Locate":{"After":7}}"#,
        r#"{"Read":["Known",{"Offset":"-1"}]}"#,
        r#""Inspect""#,
    ] {
        read(&format!(r#"{{"path":"acme/notes","ask":{ask}}}"#));
    }
}

#[test]
fn a_call_to_an_earlier_build_holds_what_that_build_knows() {
    let call = Call { version: 1, path: "acme/notes".into(), ask: read(PUSH).ask };
    let mut text = serde_json::to_value(&call).expect("JSON");
    // That build ignores unknown fields.
    text.as_object_mut().expect("an object").remove("version");
    assert_eq!(text, serde_json::from_str::<Value>(PUSH).expect("JSON"));
    let answer: Answer = serde_json::from_str(ACCEPTED).expect("an answer");
    assert_eq!(serde_json::to_string(&answer).expect("JSON"), ACCEPTED);
}

#[test]
fn fields_that_a_later_build_adds_are_ignored_and_missing_ones_have_a_default() {
    fn add(value: &mut Value) {
        if let Value::Object(members) = value {
            // An object that names a variant has exactly one member.
            let names_a_variant = members.len() == 1
                && members.keys().all(|name| name.starts_with(char::is_uppercase));
            members.values_mut().for_each(add);
            if !names_a_variant {
                members.insert("later".into(), json!({ "a": [1] }));
            }
        }
    }
    for call in [PUSH, r#"{"version":9,"path":"acme/notes","ask":{"Locate":{"After":7}}}"#] {
        let mut later: Value = serde_json::from_str(call).expect("JSON");
        add(&mut later);
        assert!(later.to_string().matches("later").count() >= 1);
        read(&later.to_string());
    }
    let mut later: Value = serde_json::from_str(ACCEPTED).expect("JSON");
    add(&mut later);
    assert_eq!(later.to_string().matches("later").count(), 2);
    let answer: Answer = serde_json::from_value(later).expect("an answer");
    assert_eq!(serde_json::to_string(&answer).expect("JSON"), ACCEPTED);

    let without = PUSH.replace(r#","backend_id":"b""#, "");
    let Ask::Op(Op::Push { backend_id, .. }) = read(&without).ask else { panic!("no push") };
    assert_eq!(backend_id, None);
}

/// The Sequencer answers that it is unavailable. The Worker can't take that for an answer of another kind, whatever it
/// asked. Therefore the client tries again.
#[test]
fn a_call_that_a_build_does_not_know_is_answered_as_unavailable() {
    for later in [
        r#"{"version":2,"path":"a/b","ask":{"Turn":{"of":"x"}}}"#,
        r#"{"path":"a/b","ask":{"Op":"Later"}}"#,
    ] {
        assert!(serde_json::from_str::<Call>(later).is_err());
    }
    let unavailable = serde_json::to_string(&Answer::Unavailable).expect("JSON");
    assert_eq!(unavailable, r#""Unavailable""#);
    assert!(serde_json::from_str::<Located>(&unavailable).is_err());
    assert!(serde_json::from_str::<ReadStart>(&unavailable).is_err());
    assert!(serde_json::from_str::<Inspection>(&unavailable).is_err());
    assert!(serde_json::from_str::<Answer>(r#"{"Halted":[{"Later":{"x":1}},null]}"#).is_err());
    let asks = [
        Ask::Look(Need::Reaching(Offset("1".into()))),
        Ask::Locate(Position::After(1)),
        Ask::Op(Op::Adopt),
    ];
    for ask in asks {
        let text =
            serde_json::to_string(&Call { version: 1, path: "a/b".into(), ask }).expect("JSON");
        read(&text);
    }
}
