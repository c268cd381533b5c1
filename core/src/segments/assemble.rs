//! Cuts a read of the log into its sealed segments as the bytes arrive. Pure: tested on any host.
//!
//! A segment is kept for ever, by the edge cache or by a reader's own, so it must be what the index says it is: the same
//! events in number, that link to the event before and end at the right one, and the same last append byte for byte. What
//! does not fit is not kept: the edge cache is not given it, and a reader does not get its end.

use std::fmt;

use crate::event::{BackendId, Fingerprint, Fingerprinter, Offset, SeqNum};
use crate::log::ChainValidator;
use crate::messages::{MessageSplitter, SplitError};
use crate::segments::plan::{MAX_SEGMENT_BYTES, Plan, Segment};

/// Cuts one JSON array, fed in chunks cut anywhere, into several. The bytes of each element stay as
/// they are; white space between them goes.
#[derive(Debug, Default)]
pub struct SegmentAssembler {
    splitter: MessageSplitter,
    body: Vec<u8>,
}

impl SegmentAssembler {
    /// Takes the next chunk. `ends` sees each element that it completes and says whether a piece ends
    /// with it; the pieces, arrays again, come back.
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
                // The next piece is about as large: without growing, it is in memory once.
                let next = Vec::with_capacity(body.len());
                pieces.push(std::mem::replace(body, next));
            }
        })?;
        Ok(pieces)
    }

    /// The array has ended, and goes on in another one: a server may answer in pages (protocol §5.6).
    pub fn next_array(&mut self) -> Result<(), SplitError> {
        std::mem::take(&mut self.splitter).finish()
    }
}

/// One segment, as it is kept and answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The offset before it.
    pub from: Offset,
    /// The offset behind it.
    pub end: Offset,
    /// Its messages, as a JSON array.
    pub body: Vec<u8>,
}

/// Why what is read is not what the index says.
#[derive(Debug, PartialEq, Eq)]
pub enum SegmentMismatch {
    /// It is no JSON array of messages.
    Split(SplitError),
    /// The segment that ends at this offset holds something else.
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

    /// Whether the events that were taken end with that append. An append of which nothing was recorded fits any.
    pub(super) fn fits(&self, segment: &Segment) -> bool {
        let seen: Option<Fingerprint> = self.0.as_ref().map(Fingerprinter::fingerprint);
        segment.made_by.is_none_or(|(_, recorded)| seen == Some(recorded))
    }
}

/// More than what is planned by [`MAX_SEGMENT_BYTES`] can have. The bytes of the index are those of pushes.
const MAX_BYTES: u64 = 2 * MAX_SEGMENT_BYTES;

/// Follows a [`Plan`] through one read of the log, message by message.
struct Follower {
    /// Its `from` and `head` are where the segment begins that is being read.
    plan: Plan,
    /// Whose log it must be.
    backend_id: BackendId,
    /// The id of a log without a header.
    implicit_id: BackendId,
    /// Of the segment that is being read.
    chain: ChainValidator,
    last_append: LastAppend,
    /// Of the plan, how many are done.
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

    /// Takes the next message. If a segment ends with it: where that begins and ends, or that it is not what the index
    /// says. Nothing follows a segment that is not.
    fn message(&mut self, message: &[u8]) -> Option<Result<(Offset, Offset), SegmentMismatch>> {
        let segment = self.plan.segments.get(self.done)?;
        if let Some(parent) = self.chain.message(message) {
            self.last_append.event(segment, parent, message);
        }
        // What is broken, or larger than anything that was planned, is not read to its end.
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

/// Reads the segments of a [`Plan`] out of one read of the log, each as a whole.
pub struct Segments {
    follower: Follower,
    cutter: SegmentAssembler,
}

impl Segments {
    /// `implicit_id` names a log without a header (docs/http-api.md, "The header").
    pub fn new(plan: Plan, backend_id: BackendId, implicit_id: BackendId) -> Self {
        Self {
            follower: Follower::new(plan, backend_id, implicit_id),
            cutter: SegmentAssembler::default(),
        }
    }

    /// Whether all that was planned is read.
    pub fn is_done(&self) -> bool {
        self.follower.is_done()
    }

    /// The page has ended, and another one follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        self.cutter.next_array().map_err(SegmentMismatch::Split)
    }

    /// Takes the next chunk; the segments that it completes come back.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, SegmentMismatch> {
        let mut places = Vec::new();
        let bodies = self.cutter.feed(chunk, |message| {
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

/// Passes one segment on while it arrives, so that it is never in memory as a whole.
pub struct Passage {
    follower: Follower,
    splitter: MessageSplitter,
    has_begun: bool,
}

impl Passage {
    /// Of the first segment of a plan.
    pub fn new(mut plan: Plan, backend_id: BackendId, implicit_id: BackendId) -> Self {
        plan.segments.truncate(1);
        let follower = Follower::new(plan, backend_id, implicit_id);
        Self { follower, splitter: MessageSplitter::default(), has_begun: false }
    }

    /// Whether all of it was passed on.
    pub fn is_done(&self) -> bool {
        self.follower.is_done()
    }

    /// The page has ended, and another one follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        std::mem::take(&mut self.splitter).finish().map_err(SegmentMismatch::Split)
    }

    /// Takes the next chunk; what of the segment's JSON array can be passed on by it comes back. The end of the array is
    /// passed on only behind what the index says.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<u8>, SegmentMismatch> {
        let Self { follower, splitter, has_begun } = self;
        let mut passed = Vec::with_capacity(chunk.len() + 2);
        let mut misfit = None;
        let fed = splitter.feed(chunk, |message| {
            if follower.is_done() {
                return;
            }
            passed.push(if std::mem::replace(has_begun, true) { b',' } else { b'[' });
            passed.extend_from_slice(message);
            match follower.message(message) {
                Some(Ok(_)) => passed.push(b']'),
                Some(Err(why)) => misfit = Some(why),
                None => {}
            }
        });
        match (fed, misfit) {
            (_, Some(misfit)) => Err(misfit),
            (Err(error), None) if !follower.is_done() => Err(SegmentMismatch::Split(error)),
            _ => Ok(passed),
        }
    }
}
