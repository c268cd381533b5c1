//! What lies sealed before a reader: runs of whole appends that never change.

use serde::{Deserialize, Serialize};

use crate::event::{Fingerprint, Offset, ROOT, SeqNum};

/// A longer run is not kept as one, because it would have to be in memory, of which an isolate has 128 MB.
/// Mostly these are logs that were adopted: all that was there then is one run.
pub const MAX_SEGMENT_BYTES: u64 = 8 << 20;

/// When a run of appends is long enough to be sealed: as soon as it reaches one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentSize {
    /// `SEGMENT_EVENTS`
    pub events: u64,
    /// `SEGMENT_BYTES`
    pub bytes: u64,
}

/// An end of an append, and all that lies before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset behind the append.
    pub offset: Offset,
    /// `seqNum` of its last event.
    pub head: SeqNum,
    /// Events in the log up to here.
    pub events: u64,
    /// Bytes of the log up to here.
    pub bytes: u64,
    /// Parent and fingerprint of the append, if they were recorded.
    pub made_by: Option<(SeqNum, Fingerprint)>,
}

impl Place {
    /// The beginning of every log.
    pub fn start() -> Self {
        Self {
            offset: Offset(Offset::START.into()),
            head: ROOT,
            events: 0,
            bytes: 0,
            made_by: None,
        }
    }
}

impl Place {
    /// Finds the append that ends at an offset, among those up to the event `last`. `first_from` looks up the first append
    /// whose last event is this one or a later one.
    ///
    /// Offsets sort as the appends do (protocol §8), so each look-up halves what is left. An index of the offsets would cost
    /// every push one row more.
    pub fn find<E>(
        offset: &Offset,
        last: SeqNum,
        mut first_from: impl FnMut(SeqNum) -> Result<Option<Self>, E>,
    ) -> Result<Option<Self>, E> {
        let mut range = ROOT..last.saturating_add(1);
        while !range.is_empty() {
            let middle = range.start + (range.end - range.start) / 2;
            match first_from(middle)? {
                Some(place) if place.offset == *offset => return Ok(Some(place)),
                Some(place) if place.offset < *offset => range.start = place.head + 1,
                _ => range.end = middle,
            }
        }
        Ok(None)
    }
}

/// The sealed segments that follow a place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The offset of the place.
    pub from: Offset,
    /// `seqNum` of the event before it.
    pub head: SeqNum,
    /// The rest of the segment that the place is in, and those after it, as many as are to be read at
    /// once. None in the unsealed tail, and none where what is sealed is too long to be kept.
    pub segments: Vec<Segment>,
    /// What is sealed there instead, and too long to be kept as one. An older build does not tell it.
    #[serde(default)]
    pub run: Option<Segment>,
}

/// A sealed, immutable run of whole appends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// How many events.
    pub events: u64,
    /// `seqNum` of the last event.
    pub head: SeqNum,
    /// The offset behind it.
    pub end: Offset,
    /// How many bytes, nearly; 0 from a Sequencer of an older build.
    #[serde(default)]
    pub bytes: u64,
    /// Parent and fingerprint of the last append in it; nothing from a Sequencer of an older build.
    #[serde(default)]
    pub made_by: Option<(SeqNum, Fingerprint)>,
}

impl Plan {
    /// Segments read at once, at most. Each costs the Worker one request to its cache, of which a free
    /// plan allows 50 an invocation.
    pub const AHEAD: usize = 32;

    /// Bytes read at once, at most; within the 30 s that the runtime grants a Worker after its answer.
    const AHEAD_BYTES: u64 = 32 << 20;

    /// The plan of a reader at `from`, with the ends of the segments after it, in order.
    pub fn new(from: Place, ends: impl IntoIterator<Item = Place>) -> Self {
        let (mut segments, mut run) = (Vec::new(), None);
        let mut at = &from;
        let ends: Vec<Place> = ends.into_iter().take(Self::AHEAD).collect();
        for end in &ends {
            let whole = end.bytes.saturating_sub(from.bytes);
            let bytes = end.bytes.saturating_sub(at.bytes);
            let events = end.events.saturating_sub(at.events);
            let segment = Segment {
                events,
                head: end.head,
                end: end.offset.clone(),
                bytes,
                made_by: end.made_by,
            };
            if bytes > MAX_SEGMENT_BYTES && at == &from {
                run = Some(segment);
                break;
            }
            if bytes > MAX_SEGMENT_BYTES || (whole > Self::AHEAD_BYTES && at != &from) {
                break;
            }
            segments.push(segment);
            at = end;
        }
        Self { from: from.offset.clone(), head: from.head, segments, run }
    }
}
