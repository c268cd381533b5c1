//! The log scanner: summarizes a range of the log in constant memory.

use super::chain::{Break, ChainValidator};
use crate::event::{BackendId, Fingerprint, Fingerprinter, SeqNum};

/// A batch whose append had an unknown outcome. The scanner looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The batch's parent. In a chain, exactly one event follows it.
    pub parent: SeqNum,
    /// The number of events in the batch.
    pub events: u64,
    /// The fingerprint of the batch.
    pub fingerprint: Fingerprint,
}

/// The recorded batch that made the head. The scanner checks that it is still in its place. A log that holds it byte for
/// byte is the log that took it, or an exact copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// The number of events before the batch in the range.
    pub skip: u64,
    /// The number of events in the batch.
    pub events: u64,
    /// The fingerprint of the batch.
    pub fingerprint: Fingerprint,
}

/// The summary of a range of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogRange {
    /// The backend id of the header message, if the range holds one.
    pub header: Option<BackendId>,
    /// The number of events.
    pub events: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// The `parentSeqNum` of the first event and the `seqNum` of the last; `None` without events.
    pub link: Option<(SeqNum, SeqNum)>,
    /// The first break in the chain.
    pub broken: Option<Break>,
    /// The fingerprint of all events.
    pub fingerprint: Fingerprint,
    /// Whether the range holds the probed batch.
    pub probe_found: bool,
    /// Whether the known batch is in its place. If the scan began with it, the other fields describe what follows it.
    pub known_found: bool,
}

impl LogRange {
    /// Whether the range continues a chain that ends at `head`.
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
    /// The events so far that may belong to the batch.
    events: u64,
    fingerprinter: Fingerprinter,
}

/// Looks for a [`Known`] batch.
struct KnownScanner {
    known: Known,
    /// The events so far.
    events: u64,
    fingerprinter: Fingerprinter,
    /// Whether the scan begins with the known batch, which the summary then leaves out.
    leads: bool,
}

impl LogScanner {
    /// A scan of a whole stream, which must begin the chain.
    pub fn from_start() -> Self {
        Self { chain: ChainValidator::from_start(), ..Self::default() }
    }

    /// A scan from a known position on, which looks for `probe`.
    pub fn onward(probe: Option<Probe>) -> Self {
        Self::default().probing(probe)
    }

    /// The same scan, which also looks for `probe`.
    pub fn probing(self, probe: Option<Probe>) -> Self {
        let probe = probe.map(|probe| ProbeScanner {
            probe,
            events: 0,
            fingerprinter: Fingerprinter::default(),
        });
        Self { probe, ..self }
    }

    /// The same scan, which also looks for the `known` batch. A scan from a known position begins with that batch, and does
    /// not count it.
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
                    self.chain = std::mem::take(&mut self.chain).restarted();
                }
                return;
            }
        }
        self.fingerprinter.event(json);
    }

    /// Ends the scan.
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
        let is_part_of_batch = if self.events == 0 {
            parent == self.probe.parent
        } else {
            self.events < self.probe.events
        };
        if is_part_of_batch {
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
