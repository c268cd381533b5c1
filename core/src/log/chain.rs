//! The log as a list of messages: events that each follow the one before, perhaps behind a header message.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::event::{BackendId, MAX_SEQ_NUM, ROOT, SeqNum};

/// Where the chain (each event's parent is the event before it) is broken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// A message that is no event; holds how many events came before it.
    NotAnEvent(u64),
    /// An event whose parent is not the event before it, or not below itself.
    Link {
        /// Its `seqNum`.
        seq: SeqNum,
        /// Its `parentSeqNum`.
        parent: SeqNum,
        /// The `seqNum` before it.
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

/// Follows the chain, message by message.
#[derive(Debug, Default)]
pub struct ChainValidator {
    /// The backend id of the header message, if there was one.
    pub header: Option<BackendId>,
    /// Events so far.
    pub events: u64,
    /// Bytes of all messages so far.
    pub bytes: u64,
    /// `parentSeqNum` of the first event and `seqNum` of the last, if there were events.
    pub link: Option<(SeqNum, SeqNum)>,
    /// The first break.
    pub broken: Option<Break>,
    from_start: bool,
}

impl ChainValidator {
    /// The whole stream's, which must begin at the root.
    pub fn from_start() -> Self {
        Self { from_start: true, ..Self::default() }
    }

    /// A chain that begins with the next message, of a stream with the same header.
    pub(super) fn begun_anew(self) -> Self {
        Self { header: self.header, ..Self::default() }
    }

    /// Whether it is the whole stream's.
    pub(super) fn is_from_start(&self) -> bool {
        self.from_start
    }

    /// Takes the next message; if it is an event, its parent comes back.
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

/// The parts of an event that matter here. Whatever the batch check lets pass, this reads.
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

/// A JSON object. Serde's derived reader alone would take an array of its fields' values as well.
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

/// The backend id, if the message is a header.
pub fn header_of(json: &[u8]) -> Option<BackendId> {
    match links_of(json) {
        Some(_) => None,
        None => serde_json::from_slice::<Object<Header>>(json)
            .ok()
            .map(|header| header.0.livestore.0.backend_id),
    }
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
