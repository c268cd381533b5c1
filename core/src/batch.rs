//! The batch check: a pushed body becomes a [`Batch`] or a [`BatchError`].
//!
//! The Worker checks a body once, at the edge, and changes no byte. The checked body is the appended body, unknown fields
//! included.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Fingerprint, Fingerprinter, MAX_SEQ_NUM, ROOT, SeqNum};
use crate::problem::Problem;

/// The summary of a checked batch, without its events. Only [`check`] makes one; a Sequencer receives it from the Worker
/// that checked the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, DeriveDeserialize)]
pub struct Batch {
    /// The `parentSeqNum` of the first event, which must be the head.
    pub parent: SeqNum,
    /// The `seqNum` of the first event.
    pub first: SeqNum,
    /// The `seqNum` of the last event, which becomes the head.
    pub last: SeqNum,
    /// The number of events.
    pub events: u64,
    /// The size of the body in bytes.
    pub bytes: u64,
    /// The hash that recognizes the batch when it is pushed again.
    pub fingerprint: Fingerprint,
}

/// The limits of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// The most events in a batch (`MAX_BATCH_EVENTS`).
    pub events: usize,
    /// The most bytes of a body (`MAX_BATCH_BYTES`).
    pub bytes: usize,
    /// The most bytes of an event (`MAX_EVENT_BYTES`).
    pub event_bytes: usize,
}

/// The reason why a body is not a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The body is not JSON. Holds the parser's message.
    Malformed(String),
    /// The body is JSON, but not an array.
    NotAnArray,
    /// The body has no events, or more than [`BatchLimits::events`].
    Count {
        /// The number of events in the body.
        events: usize,
        /// The most events allowed.
        max: usize,
    },
    /// An event is larger than [`BatchLimits::event_bytes`].
    TooLarge {
        /// The event's place in the batch, from 0.
        index: usize,
        /// The event's bytes.
        bytes: usize,
        /// The most bytes allowed.
        max: usize,
    },
    /// A field of an event, or the event as a whole, is wrong.
    Event {
        /// The event's place in the batch, from 0.
        index: usize,
        /// The field that is missing or wrong; empty for the event as a whole.
        field: &'static str,
        /// The error, to be read after the field's name.
        what: String,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Malformed(message) => write!(f, "The body is not JSON: {message}."),
            BatchError::NotAnArray => write!(f, "The body must be a JSON array of events."),
            BatchError::Count { events, max } => {
                write!(f, "A batch holds 1 to {max} events, but this one holds {events}.")
            }
            BatchError::TooLarge { index, bytes, max } => {
                write!(f, "Event {index} takes {bytes} bytes, but an event may take at most {max}.")
            }
            BatchError::Event { index, field: "", what } => write!(f, "Event {index} {what}."),
            BatchError::Event { index, field, what } => {
                write!(f, "Event {index}: `{field}` {what}.")
            }
        }
    }
}

/// A body that is not JSON becomes a 400, and any other body that is not a batch a 422, or a 413 for its size.
impl From<&BatchError> for Problem {
    fn from(error: &BatchError) -> Self {
        match error {
            // Protocol §9.1.3: an append must have messages.
            BatchError::Malformed(_) | BatchError::Count { events: 0, .. } => {
                Self::bad_request("body", error)
            }
            BatchError::NotAnArray | BatchError::Count { .. } => {
                Self::invalid_push(422, error).with("field", "body")
            }
            BatchError::TooLarge { index, bytes, max } => {
                Self::event_too_large(*index, *bytes, *max)
            }
            BatchError::Event { index, field, .. } => {
                Self::invalid_push(422, error).with("index", *index).with("field", *field)
            }
        }
    }
}

/// Checks a body: 1 to `limits.events` LiveStore events (`LiveStoreEvent.Global.Encoded` in `@livestore/common`) that link
/// to one another. The caller enforces [`BatchLimits::bytes`] while it reads the body.
pub fn check(body: &[u8], limits: BatchLimits) -> Result<Batch, BatchError> {
    let raw = events_of(body)?;
    if raw.is_empty() || raw.len() > limits.events {
        return Err(BatchError::Count { events: raw.len(), max: limits.events });
    }
    let mut fingerprinter = Fingerprinter::default();
    let mut links: Vec<Link> = Vec::with_capacity(raw.len());
    for (index, json) in raw.iter().enumerate() {
        let at = |(field, what)| BatchError::Event { index, field, what };
        if json.get().len() > limits.event_bytes {
            return Err(BatchError::TooLarge {
                index,
                bytes: json.get().len(),
                max: limits.event_bytes,
            });
        }
        check_depth(json.get()).map_err(at)?;
        let link = check_event(json).map_err(at)?;
        check_link(links.last(), link).map_err(at)?;
        links.push(link);
        fingerprinter.event(json.get().as_bytes());
    }
    Ok(Batch {
        parent: links[0].parent,
        first: links[0].seq,
        last: links[links.len() - 1].seq,
        events: links.len() as u64,
        bytes: body.len() as u64,
        fingerprint: fingerprinter.fingerprint(),
    })
}

fn events_of(body: &[u8]) -> Result<Vec<&RawValue>, BatchError> {
    let malformed = |error: serde_json::Error| BatchError::Malformed(error.to_string());
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        // The parser stops at the first byte of another value, whatever follows.
        serde_json::error::Category::Data => serde_json::from_slice::<&RawValue>(body)
            .map_or_else(malformed, |_| BatchError::NotAnArray),
        _ => malformed(error),
    })
}

#[derive(Clone, Copy)]
struct Link {
    parent: SeqNum,
    seq: SeqNum,
}

type FieldError = (&'static str, String);

/// The most levels of arrays and objects in an event. JavaScript's parser takes any depth. Code that walks through the
/// result, as LiveStore does, runs out of stack at some thousands.
pub const MAX_DEPTH: usize = 500;

fn check_depth(json: &str) -> Result<(), FieldError> {
    // Most events have too few brackets for that: this check is the fast path.
    if json.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() <= MAX_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_string, mut bytes) = (0_usize, false, json.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(("", format!("is nested more than {MAX_DEPTH} levels deep")));
        }
    }
    Ok(())
}

/// Checks the fields of one event: each is there once, and has its type.
fn check_event(json: &RawValue) -> Result<Link, FieldError> {
    if !json.get().starts_with('{') {
        return Err(("", "is not an object".into()));
    }
    let fields: Fields =
        serde_json::from_str(json.get()).map_err(|e| ("", format!("can't be read: {e}")))?;
    if let Some(field) = fields.repeated {
        return Err((field, "is given twice".into()));
    }
    non_empty_string("name", fields.values[0])?;
    fields.values[1].ok_or(("args", "is missing".to_string()))?;
    non_empty_string("clientId", fields.values[4])?;
    non_empty_string("sessionId", fields.values[5])?;
    Ok(Link {
        seq: integer("seqNum", fields.values[2])?,
        parent: integer("parentSeqNum", fields.values[3])?,
    })
}

/// Checks the chain within one batch: numbers rise by 1, and each parent is the number before. Only the first event of a
/// store may have a number above 1.
fn check_link(before: Option<&Link>, link: Link) -> Result<(), FieldError> {
    if let Some(before) = before
        && link.parent != before.seq
    {
        let what = format!("is {}, but the event before it is {}", link.parent, before.seq);
        return Err(("parentSeqNum", what));
    }
    let starts_a_store = before.is_none() && link.parent == ROOT;
    if link.seq <= link.parent || (link.seq != link.parent + 1 && !starts_a_store) {
        let what = format!(
            "is {}, but must be {}, one more than its parentSeqNum",
            link.seq,
            link.parent + 1
        );
        return Err(("seqNum", what));
    }
    Ok(())
}

fn non_empty_string(field: &'static str, value: Option<&RawValue>) -> Result<(), FieldError> {
    match value.map(RawValue::get) {
        None => Err((field, "is missing".into())),
        Some("\"\"") => Err((field, "is empty".into())),
        Some(json) if json.starts_with('"') => Ok(()),
        Some(_) => Err((field, "is not a string".into())),
    }
}

fn integer(field: &'static str, value: Option<&RawValue>) -> Result<SeqNum, FieldError> {
    let json = value.ok_or((field, "is missing".to_string()))?.get();
    json.parse()
        .ok()
        .filter(|n| *n <= MAX_SEQ_NUM)
        .ok_or((field, format!("is not an integer from 0 to {MAX_SEQ_NUM}")))
}

const FIELDS: [&str; 6] = ["name", "args", "seqNum", "parentSeqNum", "clientId", "sessionId"];

/// The known fields of an event as JSON text. Unknown fields are skipped.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a RawValue>; FIELDS.len()],
    repeated: Option<&'static str>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
        let mut fields = Fields::default();
        while let Some(Key(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let Some(known) = FIELDS.iter().position(|f| *f == key) else { continue };
            if fields.values[known].replace(value).is_some() {
                fields.repeated = Some(FIELDS[known]);
            }
        }
        Ok(fields)
    }
}

/// A key of an object, which is borrowed from the body unless it has escapes.
#[derive(DeriveDeserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
