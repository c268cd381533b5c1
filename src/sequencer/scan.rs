//! Reads a stretch of the log and tells what it holds, in constant memory.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::event::{BackendId, Fingerprint, Fingerprinter, MAX_SEQ_NUM, ROOT, SeqNum};

/// The batch whose append had an unknown outcome: is it in what is read?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Its parent. In a chain there is one event that follows it.
    pub parent: SeqNum,
    /// How many events the batch has.
    pub events: u64,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// The batch that made the head, as it was recorded: is it still where it was? What holds it byte by byte is the log
/// that took it, or an exact copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// How many events come before it in what is read.
    pub skip: u64,
    /// How many events it has.
    pub events: u64,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

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
            Break::NotAnEvent(events) => write!(f, "the message after {events} events is not a LiveStore event"),
            Break::Link { seq, parent, before } => {
                write!(f, "event {seq} has the parent {parent}, but follows event {before}")
            }
        }
    }
}

/// What a stretch of the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stretch {
    /// The backend id of the header message, if the stretch holds one.
    pub header: Option<BackendId>,
    /// How many events.
    pub events: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// `parentSeqNum` of the first event and `seqNum` of the last, if there are events.
    pub link: Option<(SeqNum, SeqNum)>,
    /// The first break in the chain.
    pub broken: Option<Break>,
    /// Of all its events.
    pub fingerprint: Fingerprint,
    /// Whether the probed batch is among its events.
    pub probe_found: bool,
    /// Whether the known batch is in its place. A scan that begins with the known batch tells of what follows it.
    pub known_found: bool,
}

impl Stretch {
    /// Whether the stretch continues a chain that ends at `head`.
    pub fn continues(&self, head: SeqNum) -> bool {
        self.header.is_none() && self.broken.is_none() && self.link.is_none_or(|(parent, _)| parent == head)
    }
}

/// Builds a [`Stretch`], message by message.
#[derive(Default)]
pub struct Scan {
    chain: Chain,
    fingerprinter: Fingerprinter,
    probe: Option<ProbeScan>,
    known: Option<KnownScan>,
}

/// Looks for a [`Probe`].
struct ProbeScan {
    probe: Probe,
    /// Events of it so far, if it is one.
    events: u64,
    fingerprinter: Fingerprinter,
}

/// Looks for a [`Known`] batch.
struct KnownScan {
    known: Known,
    /// Events so far.
    events: u64,
    fingerprinter: Fingerprinter,
    /// Whether only what follows the known batch is to be told.
    leads: bool,
}

/// Follows the chain, message by message.
#[derive(Debug, Default)]
pub struct Chain {
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
        None => serde_json::from_slice::<Object<Header>>(json).ok().map(|header| header.0.livestore.0.backend_id),
    }
}

fn links_of(json: &[u8]) -> Option<Links> {
    serde_json::from_slice::<Object<Links>>(json).ok().map(|links| links.0).filter(|links| links.seq <= MAX_SEQ_NUM)
}

/// The body that creates a stream with its header message.
pub fn header_message(id: &BackendId) -> String {
    format!(r#"[{{"livestore":{{"backendId":{},"version":1}}}}]"#, serde_json::Value::from(id.0.as_str()))
}

impl Chain {
    /// The whole stream's, which must begin at the root.
    pub fn from_start() -> Self {
        Self { from_start: true, ..Self::default() }
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

impl Scan {
    /// A scan of the whole stream, which must begin the chain.
    pub fn from_start() -> Self {
        Self { chain: Chain::from_start(), ..Self::default() }
    }

    /// A scan of what follows a known position, looking for `probe`.
    pub fn onward(probe: Option<Probe>) -> Self {
        Self::default().probing(probe)
    }

    /// The same, looking for `probe`.
    pub fn probing(self, probe: Option<Probe>) -> Self {
        let probe = probe.map(|probe| ProbeScan { probe, events: 0, fingerprinter: Fingerprinter::default() });
        Self { probe, ..self }
    }

    /// The same, looking for the `known` batch on the way from the start; or onward, where it comes first and does not
    /// count.
    pub fn expecting(self, known: Option<Known>) -> Self {
        let leads = !self.chain.from_start;
        Self { known: known.map(|known| KnownScan::new(known, leads)), ..self }
    }

    /// Takes the next message.
    pub fn message(&mut self, json: &[u8]) {
        let Some(parent) = self.chain.message(json) else { return };
        if let Some(probe) = &mut self.probe {
            probe.event(parent, json);
        }
        if let Some(known) = &mut self.known {
            let was_pending = known.is_pending();
            known.event(json);
            if was_pending && known.leads {
                if !known.is_pending() {
                    self.chain = Chain { header: self.chain.header.take(), ..Chain::default() };
                }
                return;
            }
        }
        self.fingerprinter.event(json);
    }

    /// What was read.
    pub fn finish(self) -> Stretch {
        let Chain { header, events, bytes, link, broken, .. } = self.chain;
        Stretch {
            header,
            events,
            bytes,
            link,
            broken,
            fingerprint: self.fingerprinter.fingerprint(),
            probe_found: self.probe.is_some_and(|probe| probe.is_found()),
            known_found: self.known.is_some_and(|known| known.is_found()),
        }
    }
}

impl ProbeScan {
    fn event(&mut self, parent: SeqNum, json: &[u8]) {
        let goes_on = if self.events == 0 { parent == self.probe.parent } else { self.events < self.probe.events };
        if goes_on {
            self.fingerprinter.event(json);
            self.events += 1;
        }
    }

    fn is_found(&self) -> bool {
        self.events > 0
            && self.events == self.probe.events
            && self.fingerprinter.fingerprint() == self.probe.fingerprint
    }
}

impl KnownScan {
    fn new(known: Known, leads: bool) -> Self {
        Self { known, events: 0, fingerprinter: Fingerprinter::default(), leads }
    }

    fn event(&mut self, json: &[u8]) {
        if self.events >= self.known.skip && self.is_pending() {
            self.fingerprinter.event(json);
        }
        self.events += 1;
    }

    fn is_pending(&self) -> bool {
        self.events < self.known.skip + self.known.events
    }

    fn is_found(&self) -> bool {
        !self.is_pending() && self.fingerprinter.fingerprint() == self.known.fingerprint
    }
}
