//! The message splitter against serde_json, with chunks that are cut anywhere.

use headwater_core::messages::{MessageSplitter, SplitError};
use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

use crate::support::json::{chunked, json};

fn split(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, SplitError> {
    let mut splitter = MessageSplitter::default();
    let mut messages = Vec::new();
    for chunk in chunks {
        splitter.feed(chunk, |message| messages.push(message.to_vec()))?;
    }
    splitter.finish().map(|()| messages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_elements_of_an_array_come_out_byte_for_byte(
        values in prop::collection::vec(json(), 0..8),
        pretty: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let array = Value::from(values);
        let body = if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
        let expected: Vec<&RawValue> = serde_json::from_str(&body).unwrap();
        let expected: Vec<Vec<u8>> = expected.iter().map(|raw| raw.get().as_bytes().to_vec()).collect();
        prop_assert_eq!(split(&chunked(body.as_bytes(), cuts)).unwrap(), expected);
    }

    #[test]
    fn a_body_that_is_cut_short_is_refused(
        values in prop::collection::vec(json(), 0..6),
        at: prop::sample::Index,
    ) {
        let body = serde_json::to_string(&Value::from(values)).unwrap();
        prop_assert!(split(&[&body.as_bytes()[..at.index(body.len())]]).is_err());
    }

    #[test]
    fn garbage_never_makes_the_splitter_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = split(&[&body]);
    }
}

#[test]
fn a_body_that_is_not_an_array_is_refused() {
    for (body, error) in [
        ("", SplitError::Truncated),
        ("{}", SplitError::Unexpected(b'{')),
        ("[1,]", SplitError::Unexpected(b']')),
        ("[,1]", SplitError::Unexpected(b',')),
        ("[1]x", SplitError::Unexpected(b'x')),
        ("<html>", SplitError::Unexpected(b'<')),
    ] {
        assert_eq!(split(&[body.as_bytes()]), Err(error), "{body:?}");
    }
}

#[test]
fn white_space_that_is_not_jsons_stays_in_the_message() {
    assert_eq!(split(&[b"[1 \t\r\n, 2\x0c]"]), Ok(vec![b"1".to_vec(), b"2\x0c".to_vec()]));
}
