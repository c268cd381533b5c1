//! The path codec: `names::encode` by an inverse, and `StorePath` against the `url` crate.
//!
//! The input is two names, or two segments of a URL: the first line, and the rest.

#![no_main]

use headwater_core::names::{MAX_NAME_BYTES, NameError, StorePath, encode};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// The longest encoding that is sent as it is.
const MAX_ENCODED: usize = 200;

fuzz_target!(|input: &str| {
    let (one, other) = input.split_once('\n').unwrap_or((input, ""));
    encodes(one);
    encodes(other);
    assert_eq!(encode(one) == encode(other), one == other, "two names meet");
    is_addressed(one, other);
    is_addressed(other, one);
    is_read(one, other);
});

fn encodes(name: &str) {
    let encoded = encode(name);
    assert!(
        encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
        "{encoded}"
    );
    assert!(!encoded.starts_with(['.', '_']), "{encoded}");
    assert!(encoded.len() <= MAX_ENCODED, "{encoded}");
    if plain_length(name) <= MAX_ENCODED {
        assert_eq!(decode(&encoded).as_deref(), Some(name.as_bytes()));
    } else {
        let hash = encoded.strip_prefix("~h").expect("a long name is hashed");
        assert!(
            hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "{encoded}"
        );
        assert_eq!(decode(&encoded), None, "a hash is no other name's encoding");
    }
}

/// The inverse of `encode`, for what is no hash. That there is one makes `encode` injective.
fn decode(encoded: &str) -> Option<Vec<u8>> {
    let mut bytes = encoded.bytes();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        name.push(if byte == b'~' {
            upper_hex(bytes.next()?)? << 4 | upper_hex(bytes.next()?)?
        } else {
            byte
        });
    }
    Some(name)
}

fn upper_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn plain_length(name: &str) -> usize {
    let stays = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphanumeric() || byte == b'-' || (b"_.".contains(&byte) && at > 0)
    };
    name.bytes().enumerate().map(|byte| if stays(byte) { 1 } else { 3 }).sum()
}

/// Names make a path of two plain segments, which a URL carries unchanged and by which they are found again.
fn is_addressed(tenant: &str, store: &str) {
    let fits = |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len());
    let path = StorePath::new(tenant, store);
    assert_eq!(path.is_ok(), fits(tenant) && fits(store));
    let escaped = |name: &str| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    assert_eq!(StorePath::from_url(&escaped(tenant), &escaped(store), MAX_NAME_BYTES), path);
    if let Ok(path) = path {
        assert_eq!(path.as_str(), format!("{}/{}", encode(tenant), encode(store)));
        let url = Url::parse(&format!("http://log.test/v1/{}", path.as_str())).unwrap();
        assert_eq!(url.path(), format!("/v1/{}", path.as_str()));
        assert_eq!((url.host_str(), url.query(), url.fragment()), (Some("log.test"), None, None));
    }
}

/// Any two strings as segments are decoded as RFC 3986 has it, or refused.
fn is_read(tenant: &str, store: &str) {
    let path = StorePath::from_url(tenant, store, MAX_NAME_BYTES);
    let expected = match (decoded(tenant), decoded(store)) {
        (None, _) => Err(("tenant", NameError::Encoding)),
        (_, None) => Err(("store", NameError::Encoding)),
        (Some(tenant), Some(store)) => StorePath::new(&tenant, &store),
    };
    assert_eq!(path, expected);
    if let Err((_, error)) = path {
        assert!(!error.to_string().is_empty());
    }
}

fn decoded(segment: &str) -> Option<String> {
    let is_escape = |text: &str| {
        text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let whole = segment.split('%').skip(1).all(is_escape);
    percent_decode_str(segment).decode_utf8().ok().filter(|_| whole).map(|name| name.into_owned())
}
