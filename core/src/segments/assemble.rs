//! Cuts a read of the log into its sealed segments while the bytes arrive. Where they end is in the index:
//! `Tip::sealing` decided it when the appends came.
//!
//! The edge cache and the readers' caches keep a segment forever. Therefore a segment must match the index: the number of
//! events, the link to the event before, the last event, and the last append byte for byte. A segment that does not match
//! is not kept: the edge cache never receives it, and a reader never receives its end.

use std::fmt;

use crate::event::{BackendId, Fingerprint, Fingerprinter, Offset, SeqNum};
use crate::log::ChainValidator;
use crate::messages::{MessageSplitter, SplitError};
use crate::segments::plan::{MAX_SEGMENT_BYTES, Plan, Segment};

/// Cuts one JSON array into several. The chunks may be cut anywhere. The bytes of each element stay, and white space
/// between elements goes.
#[derive(Debug, Default)]
pub struct SegmentAssembler {
    splitter: MessageSplitter,
    body: Vec<u8>,
}

impl SegmentAssembler {
    /// Takes the next chunk, and returns the pieces that end in it as arrays. `ends` receives each element, and says
    /// whether a piece ends with it.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        mut ends: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, SplitError> {
        let Self { splitter, body } = self;
        let mut pieces = Vec::new();
        splitter.feed(chunk, |element| {
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(element);
            if ends(element) {
                body.push(b']');
                // The next piece is about as large. A buffer that grows would be in memory twice.
                let next = Vec::with_capacity(body.len());
                pieces.push(std::mem::replace(body, next));
            }
        })?;
        Ok(pieces)
    }

    /// Ends the array. The elements go on in the next array: a server may answer in pages (protocol §5.6).
    pub fn next_array(&mut self) -> Result<(), SplitError> {
        std::mem::take(&mut self.splitter).finish()
    }
}

/// One segment, as caches keep it and as the Worker answers it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The offset before the segment.
    pub from: Offset,
    /// The offset behind the segment.
    pub end: Offset,
    /// The messages, as a JSON array.
    pub body: Vec<u8>,
}

/// The difference between the log and its index.
#[derive(Debug, PartialEq, Eq)]
pub enum SegmentMismatch {
    /// The body is not a JSON array of messages.
    Split(SplitError),
    /// The segment that ends at this offset does not match.
    Segment(Offset),
}

impl fmt::Display for SegmentMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentMismatch::Split(error) => error.fmt(f),
            SegmentMismatch::Segment(end) => {
                write!(f, "the segment that ends at {} does not hold what was appended", end.0)
            }
        }
    }
}

/// Compares the last append of a segment with the one that was recorded.
#[derive(Default)]
pub(super) struct LastAppend(Option<Fingerprinter>);

impl LastAppend {
    /// Takes the next event of the segment, and its parent.
    pub(super) fn event(&mut self, segment: &Segment, parent: SeqNum, json: &[u8]) {
        if segment.made_by.is_some_and(|(first, _)| first == parent) {
            self.0 = Some(Fingerprinter::default());
        }
        if let Some(fingerprinter) = &mut self.0 {
            fingerprinter.event(json);
        }
    }

    /// Whether the events so far end with the recorded append. Without a record, any events fit.
    pub(super) fn fits(&self, segment: &Segment) -> bool {
        let seen: Option<Fingerprint> = self.0.as_ref().map(Fingerprinter::fingerprint);
        segment.made_by.is_none_or(|(_, recorded)| seen == Some(recorded))
    }
}

/// The most bytes of a segment in the log. The index counts the bytes of pushes, which may differ a little.
const MAX_BYTES: u64 = 2 * MAX_SEGMENT_BYTES;

/// Follows a [`Plan`] through one read of the log, message by message.
struct Follower {
    /// `from` and `head` move to the begin of the current segment.
    plan: Plan,
    /// The backend id that the log must have.
    backend_id: BackendId,
    /// The id of a log without a header.
    implicit_id: BackendId,
    /// The chain of the current segment.
    chain: ChainValidator,
    last_append: LastAppend,
    /// The number of segments that are complete.
    done: usize,
}

impl Follower {
    fn new(plan: Plan, backend_id: BackendId, implicit_id: BackendId) -> Self {
        let chain = if plan.from.0 == Offset::START {
            ChainValidator::from_start()
        } else {
            ChainValidator::default()
        };
        Self { plan, backend_id, implicit_id, chain, last_append: LastAppend::default(), done: 0 }
    }

    fn is_done(&self) -> bool {
        self.done == self.plan.segments.len()
    }

    /// Takes the next message. If a segment ends with it, returns the segment's begin and end, or the mismatch. A mismatch
    /// ends the plan.
    fn message(&mut self, message: &[u8]) -> Option<Result<(Offset, Offset), SegmentMismatch>> {
        let segment = self.plan.segments.get(self.done)?;
        if let Some(parent) = self.chain.message(message) {
            self.last_append.event(segment, parent, message);
        }
        // A broken or oversized segment is not read to its end.
        let ChainValidator { events, bytes, broken, .. } = &self.chain;
        if *events != segment.events && broken.is_none() && *bytes <= MAX_BYTES {
            return None;
        }
        let segment = segment.clone();
        let fits = self.fits(&segment);
        let Segment { head, end, .. } = segment;
        (self.chain, self.last_append) = Default::default();
        if !fits {
            self.done = self.plan.segments.len();
            return Some(Err(SegmentMismatch::Segment(end)));
        }
        self.done += 1;
        self.plan.head = head;
        let from = std::mem::replace(&mut self.plan.from, end.clone());
        Some(Ok((from, end)))
    }

    fn fits(&self, segment: &Segment) -> bool {
        let Self { chain, last_append, .. } = self;
        chain.bytes <= MAX_BYTES
            && chain.link == Some((self.plan.head, segment.head))
            && chain.broken.is_none()
            && last_append.fits(segment)
            && match self.plan.from.0 == Offset::START {
                true => *chain.header.as_ref().unwrap_or(&self.implicit_id) == self.backend_id,
                false => chain.header.is_none(),
            }
    }
}

/// Cuts the segments of a [`Plan`] out of one read of the log, each as a whole.
pub struct Segments {
    follower: Follower,
    assembler: SegmentAssembler,
}

impl Segments {
    /// `implicit_id` is the id of a log without a header (docs/http-api.md, "The header").
    pub fn new(plan: Plan, backend_id: BackendId, implicit_id: BackendId) -> Self {
        Self {
            follower: Follower::new(plan, backend_id, implicit_id),
            assembler: SegmentAssembler::default(),
        }
    }

    /// Whether all segments of the plan are complete.
    pub fn is_done(&self) -> bool {
        self.follower.is_done()
    }

    /// Ends the upstream's page. Another page follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        self.assembler.next_array().map_err(SegmentMismatch::Split)
    }

    /// Takes the next chunk, and returns the segments that it completes.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, SegmentMismatch> {
        let mut places = Vec::new();
        let bodies = self.assembler.feed(chunk, |message| {
            let ended = self.follower.message(message);
            let ends = ended.is_some();
            places.extend(ended);
            ends
        });
        let sealed =
            |(body, place): (_, Result<_, _>)| place.map(|(from, end)| Sealed { from, end, body });
        bodies.map_err(SegmentMismatch::Split)?.into_iter().zip(places).map(sealed).collect()
    }
}

/// Passes one segment on while it arrives. The segment is never in memory as a whole.
pub struct Passage {
    follower: Follower,
    splitter: MessageSplitter,
    has_begun: bool,
}

impl Passage {
    /// Passes on the first segment of a plan.
    pub fn new(mut plan: Plan, backend_id: BackendId, implicit_id: BackendId) -> Self {
        plan.segments.truncate(1);
        let follower = Follower::new(plan, backend_id, implicit_id);
        Self { follower, splitter: MessageSplitter::default(), has_begun: false }
    }

    /// Whether the whole segment was passed on.
    pub fn is_done(&self) -> bool {
        self.follower.is_done()
    }

    /// Ends the upstream's page. Another page follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        std::mem::take(&mut self.splitter).finish().map_err(SegmentMismatch::Split)
    }

    /// Takes the next chunk, and returns the next part of the segment's JSON array. The array ends only if the segment
    /// matches the index.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<u8>, SegmentMismatch> {
        let Self { follower, splitter, has_begun } = self;
        let mut passed = Vec::with_capacity(chunk.len() + 2);
        let mut mismatch = None;
        let fed = splitter.feed(chunk, |message| {
            if follower.is_done() {
                return;
            }
            passed.push(if std::mem::replace(has_begun, true) { b',' } else { b'[' });
            passed.extend_from_slice(message);
            match follower.message(message) {
                Some(Ok(_)) => passed.push(b']'),
                Some(Err(why)) => mismatch = Some(why),
                None => {}
            }
        });
        match (fed, mismatch) {
            (_, Some(mismatch)) => Err(mismatch),
            (Err(error), None) if !follower.is_done() => Err(SegmentMismatch::Split(error)),
            _ => Ok(passed),
        }
    }
}
