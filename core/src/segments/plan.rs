//! The plan of a read: the sealed segments that lie before a reader.

use serde::{Deserialize, Serialize};

use crate::event::{Fingerprint, Offset, ROOT, SeqNum};

/// The largest segment. A segment is held in memory as a whole, and an isolate has 128 MB. Longer runs come mostly from
/// adopted logs: everything that such a log held is one run.
pub const MAX_SEGMENT_BYTES: u64 = 8 << 20;

/// The length at which a run of appends is sealed. The first bound that the run reaches counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentSize {
    /// `SEGMENT_EVENTS`
    pub events: u64,
    /// `SEGMENT_BYTES`
    pub bytes: u64,
}

/// The end of an append, and the totals of the log up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset behind the append.
    pub offset: Offset,
    /// The `seqNum` of the append's last event.
    pub head: SeqNum,
    /// The events of the log up to here.
    pub events: u64,
    /// The bytes of the log up to here.
    pub bytes: u64,
    /// Parent and fingerprint of the append, if the index recorded them.
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

    /// Finds the append that ends at an offset, among the appends up to the event `last`. `first_from` looks up the first
    /// append whose last event has this `seqNum` or a later one.
    ///
    /// Offsets sort as the appends do (protocol §8), therefore each look-up halves the range. An index of the offsets would
    /// cost every push a second row (docs/internals/adr/0011-binary-search-for-offsets.md).
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
    /// The offset at which the plan begins.
    pub from: Offset,
    /// The `seqNum` of the event before that offset.
    pub head: SeqNum,
    /// The rest of the reader's segment and the segments after it, as many as one read takes. Empty in the unsealed tail,
    /// and before a run that is too long for a segment.
    pub segments: Vec<Segment>,
    /// The run that is too long for a segment. Older builds leave it out.
    #[serde(default)]
    pub run: Option<Segment>,
}

/// A sealed, immutable run of whole appends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The number of events.
    pub events: u64,
    /// The `seqNum` of the last event.
    pub head: SeqNum,
    /// The offset behind the segment.
    pub end: Offset,
    /// The approximate number of bytes; 0 from an older build.
    #[serde(default)]
    pub bytes: u64,
    /// Parent and fingerprint of the last append in the segment; `None` from an older build.
    #[serde(default)]
    pub made_by: Option<(SeqNum, Fingerprint)>,
}

impl Plan {
    /// The most segments in one read. Each segment costs the Worker one request to its cache, and a free plan allows 50
    /// requests for each invocation.
    pub const AHEAD: usize = 32;

    /// The most bytes in one read, which must end within the 30 s that the runtime grants a Worker after its answer.
    const AHEAD_BYTES: u64 = 32 << 20;

    /// The plan of a reader at `from`. `ends` are the ends of the segments after it, in order.
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
