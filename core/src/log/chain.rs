//! The chain validator. A log is a list of messages: perhaps a header, then events that each follow the one before.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::event::{BackendId, MAX_SEQ_NUM, ROOT, SeqNum};

/// The place where a chain breaks. In a chain, each event's parent is the event before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// A message that is not an event. Holds the number of events before it.
    NotAnEvent(u64),
    /// An event whose parent is not the event before it, or is not below the event.
    Link {
        /// The event's `seqNum`.
        seq: SeqNum,
        /// The event's `parentSeqNum`.
        parent: SeqNum,
        /// The `seqNum` of the event before it.
        before: SeqNum,
    },
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Break::NotAnEvent(events) => {
                write!(f, "the message after {events} events is not a LiveStore event")
            }
            Break::Link { seq, parent, before } => {
                write!(f, "event {seq} has the parent {parent}, but follows event {before}")
            }
        }
    }
}

/// Checks the chain, message by message.
#[derive(Debug, Default)]
pub struct ChainValidator {
    /// The backend id of the header message, if there was one.
    pub header: Option<BackendId>,
    /// Events so far.
    pub events: u64,
    /// Bytes of all messages so far.
    pub bytes: u64,
    /// The `parentSeqNum` of the first event and the `seqNum` of the last; `None` without events.
    pub link: Option<(SeqNum, SeqNum)>,
    /// The first break.
    pub broken: Option<Break>,
    from_start: bool,
}

impl ChainValidator {
    /// A validator for a whole stream, whose chain must begin at the root.
    pub fn from_start() -> Self {
        Self { from_start: true, ..Self::default() }
    }

    /// A validator for the chain that begins with the next message. It keeps the header.
    pub(super) fn restarted(self) -> Self {
        Self { header: self.header, ..Self::default() }
    }

    /// Whether the chain must begin at the root.
    pub(super) fn is_from_start(&self) -> bool {
        self.from_start
    }

    /// Takes the next message. Returns the parent if the message is an event.
    pub fn message(&mut self, json: &[u8]) -> Option<SeqNum> {
        self.bytes += json.len() as u64;
        if let Some(links) = links_of(json) {
            let parent = links.parent;
            self.event(links);
            return Some(parent);
        }
        if let Some(backend_id) = header_of(json) {
            self.header.get_or_insert(backend_id);
        } else {
            self.broken.get_or_insert(Break::NotAnEvent(self.events));
        }
        None
    }

    fn event(&mut self, Links { seq, parent }: Links) {
        let before = match self.link {
            Some((_, last)) => last,
            None if self.from_start => ROOT,
            None => parent,
        };
        if parent != before || seq <= parent {
            self.broken.get_or_insert(Break::Link { seq, parent, before });
        }
        self.link = Some((self.link.map_or(parent, |(first, _)| first), seq));
        self.events += 1;
    }
}

/// The parts of an event that link it. This reads every event that passes the batch check.
#[derive(DeriveDeserialize)]
struct Links {
    #[serde(rename = "seqNum")]
    seq: SeqNum,
    #[serde(rename = "parentSeqNum")]
    parent: SeqNum,
}

/// The header message: `{"livestore":{"backendId":"…","version":1}}`.
#[derive(DeriveDeserialize)]
struct Header {
    livestore: Object<Identity>,
}

#[derive(DeriveDeserialize)]
struct Identity {
    #[serde(rename = "backendId")]
    backend_id: BackendId,
}

/// A JSON object. Serde's derived reader alone would also accept an array of the fields' values.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// The backend id of a header message; `None` for any other message.
pub fn header_of(json: &[u8]) -> Option<BackendId> {
    match links_of(json) {
        Some(_) => None,
        None => serde_json::from_slice::<Object<Header>>(json)
            .ok()
            .map(|header| header.0.livestore.0.backend_id),
    }
}

/// The `parentSeqNum` and the `seqNum` of an event; `None` for any other message.
pub fn link_of(json: &[u8]) -> Option<(SeqNum, SeqNum)> {
    links_of(json).map(|Links { seq, parent }| (parent, seq))
}

fn links_of(json: &[u8]) -> Option<Links> {
    serde_json::from_slice::<Object<Links>>(json)
        .ok()
        .map(|links| links.0)
        .filter(|links| links.seq <= MAX_SEQ_NUM)
}

/// The body that creates a stream with its header message.
pub fn header_message(id: &BackendId) -> String {
    format!(
        r#"[{{"livestore":{{"backendId":{},"version":1}}}}]"#,
        serde_json::Value::from(id.0.as_str())
    )
}
