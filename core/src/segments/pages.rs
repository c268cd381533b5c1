//! Cuts a run of which the index knows only both ends into pages. Pure: tested on any host.
//!
//! A log that was adopted, or an index that was begun anew, holds all that came before in one run. The upstream names no
//! offset inside of it, so the Worker does: an [`Interior`] says how many events of the run lie before it. It sorts between
//! the ends of the run, as the protocol wants it (§8), and it needs no memory: whoever reads on from it reads the run from
//! its begin, and passes over so many events. Interior offsets are the Worker's own. The upstream never sees one from it; a client
//! that takes one there (in hybrid mode) is refused, and begins anew.

use super::assemble::{LastAppend, Sealed, SegmentMismatch};
use crate::event::{BackendId, Offset, SeqNum};
use crate::log::ChainValidator;
use crate::messages::MessageSplitter;
use crate::segments::plan::SegmentSize;
use crate::segments::plan::{MAX_SEGMENT_BYTES, Plan, Segment};

/// What stands between the two parts of an interior offset.
const MARK: &str = "~hw";

/// The longest offset (protocol §8).
const MAX_OFFSET: usize = 256;

/// A position inside of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interior {
    /// Where the run begins, as the upstream names it.
    pub run: Offset,
    /// How many events of the run lie before the position.
    pub events: u64,
    /// `seqNum` of the last of them.
    pub head: SeqNum,
}

impl Interior {
    /// The position that an offset names, if it is one of these.
    pub fn parse(offset: &Offset) -> Option<Self> {
        let (run, rest) = offset.0.split_once(MARK)?;
        let (events, head) = rest.split_once('.')?;
        let (events, head) = (events.parse().ok()?, head.parse().ok()?);
        let parsed = Self { run: Offset(run.into()), events, head };
        // One spelling only, as offsets are unique.
        (events > 0 && parsed.offset() == *offset).then_some(parsed)
    }

    /// Its name.
    pub fn offset(&self) -> Offset {
        Offset(format!("{}{MARK}{:016}.{}", self.run.0, self.events, self.head))
    }
}

/// Where the upstream begins to be read for a reader at this offset: the offset itself, or the run that it is inside of.
pub fn begin_of(offset: &Offset) -> Offset {
    Interior::parse(offset).map_or_else(|| offset.clone(), |interior| interior.run)
}

/// Cuts a run into pages of about a segment's size.
pub struct Pages {
    /// Its `from` and `head` are where the run begins.
    plan: Plan,
    run: Segment,
    backend_id: BackendId,
    /// The id of a log without a header.
    implicit_id: BackendId,
    size: SegmentSize,
    splitter: MessageSplitter,
    /// Of the run so far.
    chain: ChainValidator,
    last_append: LastAppend,
    /// Where the first page begins, unless that is where the run does.
    first: Option<Interior>,
    /// Of the page that is being gathered: where it begins, its events, and its messages.
    from: Offset,
    events: u64,
    body: Vec<u8>,
    /// Pages that are done, or all there may be.
    done: usize,
}

impl Pages {
    /// From `first` on, or from where the run begins; `None` if the plan has no run, or the run has no room for offsets
    /// between its ends.
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

    /// Whether as much is cut as is read at once, or the run has ended.
    pub fn is_done(&self) -> bool {
        self.done >= Plan::AHEAD
    }

    /// The upstream's page has ended, and another one follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        std::mem::take(&mut self.splitter).finish().map_err(SegmentMismatch::Split)
    }

    /// Takes the next chunk; the pages that it completes come back.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, SegmentMismatch> {
        let mut splitter = std::mem::take(&mut self.splitter);
        let mut pages = Vec::new();
        let mut misfits = false;
        let fed = splitter.feed(chunk, |message| {
            if self.is_done() || misfits {
                return;
            }
            match self.message(message) {
                Ok(page) => pages.extend(page),
                Err(()) => misfits = true,
            }
        });
        self.splitter = splitter;
        match fed {
            _ if misfits => Err(SegmentMismatch::Segment(self.run.end.clone())),
            Err(error) if !self.is_done() => Err(SegmentMismatch::Split(error)),
            _ => Ok(pages),
        }
    }

    fn message(&mut self, message: &[u8]) -> Result<Option<Sealed>, ()> {
        let skipped = self.first.as_ref().map_or(0, |first| first.events);
        let is_passed_over = self.chain.events < skipped;
        let parent = self.chain.message(message);
        let is_event = parent.is_some();
        if let Some(parent) = parent {
            self.last_append.event(&self.run, parent, message);
        }
        let is_last = self.chain.events == self.run.events;
        if !self.fits(skipped) || (is_last && !self.last_append.fits(&self.run)) {
            return Err(());
        }
        if is_passed_over {
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

    /// Whether the run so far is what the index says, and what the first page's offset says.
    fn fits(&self, skipped: u64) -> bool {
        let ChainValidator { header, events, link, broken, .. } = &self.chain;
        let is_whose_it_should_be = match self.plan.from.0 == Offset::START {
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
        is_whose_it_should_be
            && links
            && broken.is_none()
            && self.body.len() as u64 <= 2 * MAX_SEGMENT_BYTES
    }

    fn page(&mut self, end: Offset) -> Sealed {
        self.body.push(b']');
        self.events = 0;
        // The next page is about as large: without growing, it is in memory once.
        let body = std::mem::take(&mut self.body);
        self.body.reserve(body.len());
        Sealed { from: std::mem::replace(&mut self.from, end.clone()), end, body }
    }
}

/// Passes on what follows an interior position, out of a read of its run from the begin.
pub struct Remainder {
    after: Interior,
    splitter: MessageSplitter,
    chain: ChainValidator,
    has_begun: bool,
}

impl Remainder {
    /// What follows `after`.
    pub fn new(after: Interior) -> Self {
        Self {
            after,
            splitter: MessageSplitter::default(),
            chain: ChainValidator::default(),
            has_begun: false,
        }
    }

    /// Whether the position was reached: what comes from now on is passed on.
    pub fn is_reached(&self) -> bool {
        self.chain.events >= self.after.events
    }

    /// Takes the next chunk; what of it follows the position comes back, as a part of a JSON array.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<u8>, SegmentMismatch> {
        let Self { after, splitter, chain, has_begun } = self;
        let mut passed = Vec::with_capacity(chunk.len());
        let mut misfits = false;
        let fed = splitter.feed(chunk, |message| {
            if chain.events < after.events {
                chain.message(message);
                let is_there = chain.events == after.events;
                misfits |= is_there && chain.link.is_none_or(|(_, head)| head != after.head);
                return;
            }
            passed.push(if std::mem::replace(has_begun, true) { b',' } else { b'[' });
            passed.extend_from_slice(message);
        });
        fed.map_err(SegmentMismatch::Split)?;
        if misfits { Err(SegmentMismatch::Segment(after.offset())) } else { Ok(passed) }
    }

    /// The upstream's page has ended, and another one follows.
    pub fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        std::mem::take(&mut self.splitter).finish().map_err(SegmentMismatch::Split)
    }

    /// The read has ended; the end of the array comes back.
    pub fn finish(&mut self) -> Result<&'static [u8], SegmentMismatch> {
        self.next_page()?;
        Ok(if self.has_begun { b"]" } else { b"[]" })
    }
}
