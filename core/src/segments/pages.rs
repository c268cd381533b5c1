//! Cuts a long run into pages. A run is a part of the log of which the index knows only both ends.
//!
//! An adopted log, or a rebuilt index, holds everything that came before in one run. The upstream names no offset
//! inside the run, therefore the Worker does. An [`Interior`] offset says how many events of the run lie before it.
//! Such an offset sorts between the ends of the run, as the protocol demands (§8). The Worker stores none of them: to
//! go on from one, it reads the run from its begin and skips that many events. The Worker never sends an interior
//! offset upstream. A client that does, in hybrid mode, is refused and starts again.

use super::assemble::{LastAppend, Sealed, SegmentMismatch};
use crate::event::{BackendId, Offset, SeqNum};
use crate::log::ChainValidator;
use crate::messages::MessageSplitter;
use crate::segments::plan::SegmentSize;
use crate::segments::plan::{MAX_SEGMENT_BYTES, Plan, Segment};

/// The mark between the two parts of an interior offset.
const MARK: &str = "~hw";

/// The longest offset in characters (protocol §8).
const MAX_OFFSET: usize = 256;

/// A position inside a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interior {
    /// The upstream's offset at which the run begins.
    pub run: Offset,
    /// The number of the run's events before the position.
    pub events: u64,
    /// The `seqNum` of the last of them.
    pub head: SeqNum,
}

impl Interior {
    /// Reads an interior offset; `None` for every other offset.
    pub fn parse(offset: &Offset) -> Option<Self> {
        let (run, rest) = offset.0.split_once(MARK)?;
        let (events, head) = rest.split_once('.')?;
        let (events, head) = (events.parse().ok()?, head.parse().ok()?);
        let parsed = Self { run: Offset(run.into()), events, head };
        // Offsets are unique, therefore each position has only one spelling.
        (events > 0 && parsed.offset() == *offset).then_some(parsed)
    }

    /// The offset that names this position.
    pub fn offset(&self) -> Offset {
        Offset(format!("{}{MARK}{:016}.{}", self.run.0, self.events, self.head))
    }
}

/// The upstream's offset from which to read for a reader at this offset: the offset itself, or the begin of its run.
pub fn begin_of(offset: &Offset) -> Offset {
    Interior::parse(offset).map_or_else(|| offset.clone(), |interior| interior.run)
}

/// Cuts a run into pages of about a segment's size.
pub struct Pages {
    /// `from` and `head` are the begin of the run.
    plan: Plan,
    run: Segment,
    backend_id: BackendId,
    /// The id of a log without a header.
    implicit_id: BackendId,
    size: SegmentSize,
    splitter: MessageSplitter,
    /// The chain of the run so far.
    chain: ChainValidator,
    last_append: LastAppend,
    /// The begin of the first page; `None` for the begin of the run.
    first: Option<Interior>,
    /// The begin of the current page.
    from: Offset,
    /// The events of the current page.
    events: u64,
    /// The messages of the current page.
    body: Vec<u8>,
    /// The number of complete pages; [`Plan::AHEAD`] at the end of the run.
    done: usize,
}

impl Pages {
    /// Pages from `first` on, or from the begin of the run. `None` if the plan has no run, or the run has no room for
    /// offsets between its ends.
    pub fn new(
        mut plan: Plan,
        first: Option<Interior>,
        size: SegmentSize,
        backend_id: BackendId,
        implicit_id: BackendId,
    ) -> Option<Self> {
        let run = plan.run.take()?;
        let last = Interior { run: plan.from.clone(), events: run.events, head: run.head }.offset();
        if last >= run.end || last.0.len() > MAX_OFFSET {
            return None;
        }
        let from = first.as_ref().map_or_else(|| plan.from.clone(), Interior::offset);
        let chain = if plan.from.0 == Offset::START {
            ChainValidator::from_start()
        } else {
            ChainValidator::default()
        };
        let splitter = MessageSplitter::default();
        let (last_append, body) = Default::default();
        let events = 0;
        let done = 0;
        Some(Self {
            plan,
            run,
            backend_id,
            implicit_id,
            size,
            splitter,
            chain,
            last_append,
            first,
            from,
            events,
            body,
            done,
        })
    }

    /// Whether the read has all its pages, or the run has ended.
    pub fn is_done(&self) -> bool {
        self.done >= Plan::AHEAD
    }

    /// Ends the upstream's page. Another page follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        std::mem::take(&mut self.splitter).finish().map_err(SegmentMismatch::Split)
    }

    /// Takes the next chunk, and returns the pages that it completes.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, SegmentMismatch> {
        let mut splitter = std::mem::take(&mut self.splitter);
        let mut pages = Vec::new();
        let mut is_mismatch = false;
        let fed = splitter.feed(chunk, |message| {
            if self.is_done() || is_mismatch {
                return;
            }
            match self.message(message) {
                Ok(page) => pages.extend(page),
                Err(()) => is_mismatch = true,
            }
        });
        self.splitter = splitter;
        match fed {
            _ if is_mismatch => Err(SegmentMismatch::Segment(self.run.end.clone())),
            Err(error) if !self.is_done() => Err(SegmentMismatch::Split(error)),
            _ => Ok(pages),
        }
    }

    fn message(&mut self, message: &[u8]) -> Result<Option<Sealed>, ()> {
        let skipped = self.first.as_ref().map_or(0, |first| first.events);
        let is_skipped = self.chain.events < skipped;
        let parent = self.chain.message(message);
        let is_event = parent.is_some();
        if let Some(parent) = parent {
            self.last_append.event(&self.run, parent, message);
        }
        let is_last = self.chain.events == self.run.events;
        if !self.fits(skipped) || (is_last && !self.last_append.fits(&self.run)) {
            return Err(());
        }
        if is_skipped {
            return if is_last { Err(()) } else { Ok(None) };
        }
        self.body.push(if self.body.is_empty() { b'[' } else { b',' });
        self.body.extend_from_slice(message);
        self.events += u64::from(is_event);
        let is_long = self.events >= self.size.events || self.body.len() as u64 >= self.size.bytes;
        match (is_last, is_event && is_long) {
            (true, _) => {
                self.done = Plan::AHEAD;
                Ok(Some(self.page(self.run.end.clone())))
            }
            (false, true) => {
                self.done += 1;
                let head = self.chain.link.map_or(self.plan.head, |(_, head)| head);
                let end = Interior { run: self.plan.from.clone(), events: self.chain.events, head };
                Ok(Some(self.page(end.offset())))
            }
            (false, false) => Ok(None),
        }
    }

    /// Whether the run so far matches the index and the offset of the first page.
    fn fits(&self, skipped: u64) -> bool {
        let ChainValidator { header, events, link, broken, .. } = &self.chain;
        let has_right_header = match self.plan.from.0 == Offset::START {
            true => {
                *events == 0 || *header.as_ref().unwrap_or(&self.implicit_id) == self.backend_id
            }
            false => header.is_none(),
        };
        let links = link.is_none_or(|(parent, head)| {
            parent == self.plan.head
                && (*events != self.run.events || head == self.run.head)
                && (*events != skipped
                    || self.first.as_ref().is_none_or(|first| head == first.head))
        });
        has_right_header
            && links
            && broken.is_none()
            && self.body.len() as u64 <= 2 * MAX_SEGMENT_BYTES
    }

    fn page(&mut self, end: Offset) -> Sealed {
        self.body.push(b']');
        self.events = 0;
        // The next page is about as large. A buffer that grows would be in memory twice.
        let body = std::mem::take(&mut self.body);
        self.body.reserve(body.len());
        Sealed { from: std::mem::replace(&mut self.from, end.clone()), end, body }
    }
}

/// Passes on the events behind an interior position, while the run is read from its begin.
pub struct Remainder {
    after: Interior,
    splitter: MessageSplitter,
    chain: ChainValidator,
    has_begun: bool,
}

impl Remainder {
    /// Passes on the events behind `after`.
    pub fn new(after: Interior) -> Self {
        Self {
            after,
            splitter: MessageSplitter::default(),
            chain: ChainValidator::default(),
            has_begun: false,
        }
    }

    /// Whether the read has reached the position.
    pub fn is_reached(&self) -> bool {
        self.chain.events >= self.after.events
    }

    /// Takes the next chunk, and returns the next part of a JSON array of the messages behind the position.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<u8>, SegmentMismatch> {
        let Self { after, splitter, chain, has_begun } = self;
        let mut passed = Vec::with_capacity(chunk.len());
        let mut is_mismatch = false;
        let fed = splitter.feed(chunk, |message| {
            if chain.events < after.events {
                chain.message(message);
                let has_arrived = chain.events == after.events;
                is_mismatch |= has_arrived && chain.link.is_none_or(|(_, head)| head != after.head);
                return;
            }
            passed.push(if std::mem::replace(has_begun, true) { b',' } else { b'[' });
            passed.extend_from_slice(message);
        });
        fed.map_err(SegmentMismatch::Split)?;
        if is_mismatch { Err(SegmentMismatch::Segment(after.offset())) } else { Ok(passed) }
    }

    /// Ends the upstream's page. Another page follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        std::mem::take(&mut self.splitter).finish().map_err(SegmentMismatch::Split)
    }

    /// Ends the read, and returns the end of the array.
    pub fn finish(&mut self) -> Result<&'static [u8], SegmentMismatch> {
        self.next_page()?;
        Ok(if self.has_begun { b"]" } else { b"[]" })
    }
}
