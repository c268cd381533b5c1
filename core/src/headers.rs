//! Request headers: what each header of the protocol means to a request that writes, and the tags of `If-None-Match`.
//!
//! Nothing that a write asks for is dropped silently: a header that no store can honor is refused by name. Reads change
//! nothing, therefore they ignore such headers.

use crate::problem::Problem;
use crate::route::Verb;

/// The meaning of a header.
enum Meaning {
    /// The Worker honors it, where it serves the request.
    Honored,
    /// `true` asks for a closed stream. Any other value counts as no header (protocol §4.1).
    Closed,
    /// It can't be honored. Holds the status of the refusal: 409 if it asks for a stream that no store can be, 501 if it
    /// asks for a function that Headwater does not have, else 400. Also holds why, and what to do.
    Refused(u16, &'static str),
}

use Meaning::{Closed, Honored, Refused};

const ONLY_PUT: Meaning = Refused(
    400,
    "only a PUT has this header, and no store can have what it asks for. Leave it out.",
);
const NO_PRODUCER: Meaning = Refused(
    400,
    "a store has no producers. Leave out Producer-Id, Producer-Epoch and Producer-Seq: Headwater recognizes a batch \
     that it has already, and accepts it again.",
);
const NO_SEQ: Meaning =
    Refused(400, "the parentSeqNum of the events orders pushes. Leave Stream-Seq out.");
const NO_EXPIRY: Meaning =
    Refused(409, "a store does not expire. Leave out Stream-TTL and Stream-Expires-At.");
const NO_FORK: Meaning =
    Refused(501, "a store can't be a fork of another one. Leave out the fork headers.");
const NO_CONDITION: Meaning = Refused(
    400,
    "a write has no preconditions. Leave it out. A push names its parent in parentSeqNum, and its log in \
     Livestore-Backend-Id.",
);
const NO_ID: Meaning = Refused(
    400,
    "only a push has this header. Leave it out. The request means whatever log the store has now.",
);
const NO_ID_TO_CLOSE: &str = "a close names the log by its address. Leave it out, and send the close to the incarnation's address.";
const JSON_ONLY: Meaning = Refused(409, "a store is a stream of application/json.");
const PUSH_FIRST: &str = "it must come without a body. Push the batch first, and then close.";

/// Each header, with its meaning for PUT and for POST. Every other write can honor none of them.
static TABLE: [(&str, Meaning, Meaning); 14] = [
    ("content-type", JSON_ONLY, JSON_ONLY),
    ("stream-closed", Closed, Closed),
    ("stream-ttl", NO_EXPIRY, ONLY_PUT),
    ("stream-expires-at", NO_EXPIRY, ONLY_PUT),
    ("stream-forked-from", NO_FORK, ONLY_PUT),
    ("stream-fork-offset", NO_FORK, ONLY_PUT),
    ("stream-fork-sub-offset", NO_FORK, ONLY_PUT),
    ("stream-seq", NO_SEQ, NO_SEQ),
    ("producer-id", NO_PRODUCER, NO_PRODUCER),
    ("producer-epoch", NO_PRODUCER, NO_PRODUCER),
    ("producer-seq", NO_PRODUCER, NO_PRODUCER),
    ("if-match", NO_CONDITION, NO_CONDITION),
    ("if-none-match", NO_CONDITION, NO_CONDITION),
    ("livestore-backend-id", NO_ID, Honored),
];

/// The names of the headers that [`check`] must see.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, ..)| *name)
}

/// Whether the headers ask for a closed stream (protocol §4.1).
pub fn closes(headers: &[(&'static str, String)]) -> bool {
    headers
        .iter()
        .any(|(name, value)| *name == "stream-closed" && value.eq_ignore_ascii_case("true"))
}

/// Checks a request that writes, by its headers. Returns whether it asks for a closed stream. `has_body`: whether the
/// request has a body that is not empty.
pub fn check(
    verb: &Verb,
    headers: &[(&'static str, String)],
    has_body: bool,
) -> Result<bool, Problem> {
    let value = |name: &str| {
        headers.iter().find(|(sent, _)| *sent == name).map(|(_, value)| value.as_str())
    };
    if let (Verb::Create, Some((field, detail))) = (verb, malformed(value, has_body)) {
        return Err(Problem::bad_request(field, detail));
    }
    let only_closes = *verb == Verb::Push && self::closes(headers);
    let mut closes = false;
    for (name, put, post) in &TABLE {
        let Some(value) = value(name) else { continue };
        let is_default = match *name {
            "stream-closed" => !value.eq_ignore_ascii_case("true"),
            // Only a PUT and a push have a type.
            "content-type" => {
                is_json(value)
                    || (only_closes && !has_body)
                    || matches!(verb, Verb::Reset | Verb::Delete | Verb::Adopt)
            }
            _ => false,
        };
        let (status, why) = match (verb, put, post) {
            _ if is_default => continue,
            (Verb::Push, _, Closed) if has_body => (400, PUSH_FIRST),
            // A close names the log by its address.
            (Verb::Push, ..) if closes && *name == "livestore-backend-id" => (400, NO_ID_TO_CLOSE),
            (Verb::Create, Honored, _) | (Verb::Push, _, Honored) => continue,
            (Verb::Create, Closed, _) | (Verb::Push, _, Closed) => {
                closes = true;
                continue;
            }
            (Verb::Create, Refused(status, why), _) | (Verb::Push, _, Refused(status, why)) => {
                (*status, *why)
            }
            _ => (400, "this request can't honor it. Leave it out."),
        };
        return Err(Problem::unmet_header(status, name, why));
    }
    Ok(closes)
}

/// The fault of a PUT that no store could honor (protocol §5.1): the field, and why.
fn malformed<'v>(
    value: impl Fn(&str) -> Option<&'v str>,
    has_body: bool,
) -> Option<(&'static str, &'static str)> {
    let has = |name| value(name).is_some();
    let is_wrong = |name, fits: fn(&str) -> bool| value(name).is_some_and(|value| !fits(value));
    let is_part = |name| has(name) && !has("stream-forked-from");
    let faults = [
        (
            has_body,
            "body",
            "PUT creates the stream without events. Send it without a body, and then push the events by POST.",
        ),
        (
            is_wrong("stream-ttl", is_number),
            "stream-ttl",
            "Stream-TTL must be a number of seconds in plain digits.",
        ),
        (
            is_wrong("stream-expires-at", is_time),
            "stream-expires-at",
            "Stream-Expires-At must be a time as in RFC 3339.",
        ),
        (
            has("stream-ttl") && has("stream-expires-at"),
            "stream-ttl",
            "Stream-TTL and Stream-Expires-At exclude each other.",
        ),
        (is_part("stream-fork-offset"), "stream-fork-offset", ONLY_WITH_SOURCE),
        (is_part("stream-fork-sub-offset"), "stream-fork-sub-offset", ONLY_WITH_SOURCE),
        (
            is_wrong("stream-fork-sub-offset", is_number),
            "stream-fork-sub-offset",
            "Stream-Fork-Sub-Offset must be a number in plain digits.",
        ),
    ];
    faults.into_iter().find(|(is_fault, ..)| *is_fault).map(|(_, field, why)| (field, why))
}

const ONLY_WITH_SOURCE: &str = "Only a PUT with Stream-Forked-From may have this header.";

/// Whether this is the content type of a store. Parameters don't matter.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Whether a value is a number in plain digits (protocol §5.1).
fn is_number(value: &str) -> bool {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits && (value == "0" || !value.starts_with('0'))
}

/// Whether a value has the form of RFC 3339 (§5.6).
fn is_time(value: &str) -> bool {
    let digits =
        |byte: u8| if byte.is_ascii_digit() { '0' } else { byte.to_ascii_uppercase().into() };
    let form: String = value.bytes().map(digits).collect();
    let zones = ["Z", "+00:00", "-00:00"];
    let fraction = zones
        .iter()
        .find_map(|zone| form.strip_suffix(zone))
        .and_then(|form| form.strip_prefix("0000-00-00T00:00:00"));
    fraction.is_some_and(|fraction| {
        fraction.is_empty()
            || fraction.starts_with(".0") && fraction[1..].trim_matches('0').is_empty()
    })
}

/// Whether `If-None-Match` (RFC 9110 §13.1.2) names this tag: as one of a list, as a weak one, or by `*`.
pub fn names_tag(if_none_match: &str, etag: &str) -> bool {
    let (tags, etag) = (if_none_match.trim(), opaque(etag));
    // A tag may hold commas, but no quotes.
    let is_quoted = etag.len() > 1 && etag.starts_with('"') && etag.ends_with('"');
    tags == "*" || opaque(tags) == etag || (is_quoted && tags.contains(etag))
}

/// A tag without the mark of a weak one.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}
