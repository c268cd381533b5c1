//! The encoding of names into upstream paths, in which no two names meet.

use headwater_core::names::{MAX_NAME_BYTES, NameError, StorePath, encode};
use proptest::prelude::*;

/// Names of characters that paths, servers and file systems treat specially, and of their escapes.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z~.%/_-]{0,4}",
        Just("..".into()),
        Just("%2f".into()),
        Just("%2F".into()),
        Just("~2F".into()),
        Just("~h".into()),
        Just("__ds".into()),
        Just("\0".into()),
        Just("😀".into()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 1..6).prop_map(|pieces: Vec<String>| pieces.concat())
}

/// The inverse of `encode`. It shows that no two names share an encoding.
fn decode(encoded: &str) -> Option<String> {
    let mut parts = encoded.split('~');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn an_encoded_name_is_one_plain_segment(name in hostile()) {
        let encoded = encode(&name);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        prop_assert!(!encoded.starts_with(['.', '_']), "{encoded}");
        prop_assert!(encoded.len() <= 200);
    }

    #[test]
    fn an_encoded_name_can_be_decoded(name in hostile()) {
        let encoded = encode(&name);
        if let Some(hash) = encoded.strip_prefix("~h") {
            prop_assert!(hash.len() == 64 && decode(&encoded).is_none());
        } else {
            prop_assert_eq!(decode(&encoded), Some(name));
        }
    }

    #[test]
    fn different_names_never_meet(a in hostile(), b in hostile(), c in hostile(), d in hostile()) {
        prop_assume!((&a, &b) != (&c, &d));
        let paths = [(&a, &b), (&c, &d)].map(|(tenant, store)| StorePath::new(tenant, store));
        if let [Ok(one), Ok(other)] = paths {
            prop_assert_ne!(one, other);
        }
    }

    #[test]
    fn a_name_from_a_url_is_the_name_itself(tenant in hostile(), store in hostile()) {
        prop_assume!(!tenant.is_empty() && !store.is_empty());
        let url = |name: &str| name.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
        prop_assert_eq!(StorePath::from_url(&url(&tenant), &url(&store), MAX_NAME_BYTES), StorePath::new(&tenant, &store));
    }
}

/// Every stream lies under such a path: after a change, no stream would be found.
#[test]
fn a_name_keeps_its_encoding() {
    for (name, encoded) in [
        ("my-store", "my-store"),
        ("Todo_List.v2", "Todo_List.v2"),
        (".", "~2E"),
        ("..", "~2E."),
        ("__ds", "~5F_ds"),
        ("a/b", "a~2Fb"),
        ("a%2fb", "a~252fb"),
        ("~", "~7E"),
        ("\0", "~00"),
        ("é😀", "~C3~A9~F0~9F~98~80"),
        ("user@example.com", "user~40example.com"),
    ] {
        assert_eq!(encode(name), encoded, "{name:?}");
    }
    let long = "x".repeat(1000);
    assert_eq!(encode(&long), "~h44f8354494a5ba03ba1792a8d3e9c534c47a9181980fde7a3f44b06ef2ae7c7f");
    assert_eq!(encode(&"x".repeat(200)), "x".repeat(200));
}

#[test]
fn a_bad_name_is_refused_with_its_part_and_reason() {
    assert_eq!(StorePath::new("", "s"), Err(("tenant", NameError::Empty)));
    assert_eq!(
        StorePath::new("t", &"x".repeat(MAX_NAME_BYTES + 1)),
        Err(("store", NameError::TooLong { bytes: MAX_NAME_BYTES + 1, max: MAX_NAME_BYTES }))
    );
    assert_eq!(StorePath::from_url("t", "%f", MAX_NAME_BYTES), Err(("store", NameError::Encoding)));
    assert_eq!(
        StorePath::from_url("%ff", "s", MAX_NAME_BYTES),
        Err(("tenant", NameError::Encoding))
    );
    assert!(StorePath::new("t", &"x".repeat(1000)).is_ok());
}
