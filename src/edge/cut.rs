//! Cuts a read of the log into its sealed segments as the bytes arrive. Pure: tested on any host.
//!
//! A segment is kept for ever, so it must be what the index says it is: the same events in number, that
//! link to the event before and end at the right one. What does not fit is not kept.

use std::fmt;

use crate::event::{BackendId, Offset};
use crate::messages::{MessageSplitter, SplitError};
use crate::sequencer::plan::{MAX_SEGMENT_BYTES, Plan, Segment};
use crate::sequencer::scan::Chain;

/// Cuts one JSON array, fed in chunks cut anywhere, into several. The bytes of each element stay as
/// they are; white space between them goes.
#[derive(Debug, Default)]
pub struct Cutter {
    splitter: MessageSplitter,
    body: Vec<u8>,
}

impl Cutter {
    /// Takes the next chunk. `ends` sees each element that it completes and says whether a piece ends
    /// with it; the pieces, arrays again, come back.
    pub fn feed(&mut self, chunk: &[u8], mut ends: impl FnMut(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, SplitError> {
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
pub enum Misfit {
    /// It is no JSON array of messages.
    Split(SplitError),
    /// The segment that ends at this offset holds something else.
    Segment(Offset),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Split(error) => error.fmt(f),
            Misfit::Segment(end) => write!(f, "the segment that ends at {} does not hold what was appended", end.0),
        }
    }
}

/// More than what is planned by [`MAX_SEGMENT_BYTES`] can have. The bytes of the index are those of pushes.
const MAX_BYTES: u64 = 2 * MAX_SEGMENT_BYTES;

/// Reads the segments of a [`Plan`] out of one read of the log.
pub struct Segments {
    /// Its `from` and `head` are where the segment begins that is being read.
    plan: Plan,
    /// Whose log it must be.
    backend_id: BackendId,
    /// The id of a log without a header.
    implicit_id: BackendId,
    cutter: Cutter,
    /// Of the segment that is being read.
    chain: Chain,
    /// Of the plan, how many are done.
    done: usize,
}

impl Segments {
    /// `implicit_id` names a log without a header (docs/wire.md, "The header").
    pub fn new(plan: Plan, backend_id: BackendId, implicit_id: BackendId) -> Self {
        let chain = if plan.from.0 == Offset::START { Chain::from_start() } else { Chain::default() };
        Self { plan, backend_id, implicit_id, cutter: Cutter::default(), chain, done: 0 }
    }

    /// Whether all that was planned is read.
    pub fn is_done(&self) -> bool {
        self.done == self.plan.segments.len()
    }

    /// The page has ended, and another one follows.
    pub fn next_page(&mut self) -> Result<(), Misfit> {
        self.cutter.next_array().map_err(Misfit::Split)
    }

    /// Takes the next chunk; the segments that it completes come back.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, Misfit> {
        let (planned, chain, mut at) = (&self.plan.segments, &mut self.chain, self.done);
        let mut read = Vec::new();
        let bodies = self.cutter.feed(chunk, |message| {
            let Some(segment) = planned.get(at) else { return false };
            chain.message(message);
            // What is broken, or larger than anything that was planned, is not read to its end.
            let ends = chain.events == segment.events || chain.broken.is_some() || chain.bytes > MAX_BYTES;
            if ends {
                read.push(std::mem::take(chain));
                at += 1;
            }
            ends
        });
        bodies.map_err(Misfit::Split)?.into_iter().zip(read).map(|(body, chain)| self.check(body, &chain)).collect()
    }

    fn check(&mut self, body: Vec<u8>, chain: &Chain) -> Result<Sealed, Misfit> {
        let Segment { head, end, .. } = self.plan.segments[self.done].clone();
        let fits = chain.bytes <= MAX_BYTES
            && chain.link == Some((self.plan.head, head))
            && chain.broken.is_none()
            && match self.plan.from.0 == Offset::START {
                true => *chain.header.as_ref().unwrap_or(&self.implicit_id) == self.backend_id,
                false => chain.header.is_none(),
            };
        if !fits {
            return Err(Misfit::Segment(end));
        }
        self.done += 1;
        self.plan.head = head;
        let from = std::mem::replace(&mut self.plan.from, end.clone());
        Ok(Sealed { from, end, body })
    }
}
