//! Reads a stretch of the log and tells what it holds, in constant memory.

use super::chain::{Break, ChainValidator};
use crate::event::{BackendId, Fingerprint, Fingerprinter, SeqNum};

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

/// What a stretch of the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogRange {
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

impl LogRange {
    /// Whether the stretch continues a chain that ends at `head`.
    pub fn continues(&self, head: SeqNum) -> bool {
        self.header.is_none()
            && self.broken.is_none()
            && self.link.is_none_or(|(parent, _)| parent == head)
    }
}

/// Builds a [`LogRange`], message by message.
#[derive(Default)]
pub struct LogScanner {
    chain: ChainValidator,
    fingerprinter: Fingerprinter,
    probe: Option<ProbeScanner>,
    known: Option<KnownScanner>,
}

/// Looks for a [`Probe`].
struct ProbeScanner {
    probe: Probe,
    /// Events of it so far, if it is one.
    events: u64,
    fingerprinter: Fingerprinter,
}

/// Looks for a [`Known`] batch.
struct KnownScanner {
    known: Known,
    /// Events so far.
    events: u64,
    fingerprinter: Fingerprinter,
    /// Whether only what follows the known batch is to be told.
    leads: bool,
}

impl LogScanner {
    /// A scan of the whole stream, which must begin the chain.
    pub fn from_start() -> Self {
        Self { chain: ChainValidator::from_start(), ..Self::default() }
    }

    /// A scan of what follows a known position, looking for `probe`.
    pub fn onward(probe: Option<Probe>) -> Self {
        Self::default().probing(probe)
    }

    /// The same, looking for `probe`.
    pub fn probing(self, probe: Option<Probe>) -> Self {
        let probe = probe.map(|probe| ProbeScanner {
            probe,
            events: 0,
            fingerprinter: Fingerprinter::default(),
        });
        Self { probe, ..self }
    }

    /// The same, looking for the `known` batch on the way from the start; or onward, where it comes first and does not
    /// count.
    pub fn expecting(self, known: Option<Known>) -> Self {
        let leads = !self.chain.is_from_start();
        Self { known: known.map(|known| KnownScanner::new(known, leads)), ..self }
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
                    self.chain = std::mem::take(&mut self.chain).begun_anew();
                }
                return;
            }
        }
        self.fingerprinter.event(json);
    }

    /// What was read.
    pub fn finish(self) -> LogRange {
        let ChainValidator { header, events, bytes, link, broken, .. } = self.chain;
        LogRange {
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

impl ProbeScanner {
    fn event(&mut self, parent: SeqNum, json: &[u8]) {
        let goes_on = if self.events == 0 {
            parent == self.probe.parent
        } else {
            self.events < self.probe.events
        };
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

impl KnownScanner {
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
