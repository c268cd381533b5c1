//! The copy of a log that a move or a restore writes, part by part.

use std::time::Duration;

use headwater_core::event::{Offset, ROOT, SeqNum};
use headwater_core::log::{LogRange, LogScanner, header_of, link_of};
use headwater_core::messages::{MessageSplitter, SplitError};
use headwater_core::sequencer::call::{Incarnation, MoveAnswer};
use headwater_core::sequencer::copy::LogCopy;
use headwater_core::sequencer::{Answer, UpstreamResult};
use worker::{Delay, Error, Result};

use crate::log::{BuiltInLog, End, TOO_LARGE};
use crate::settings::MAX_ROW;
use crate::upstream::ProducerEpochs;

/// The bytes of one part of a copy. A part that is one row of a built-in log may be as long as a row.
pub(super) const PART_BYTES: usize = 256 << 10;

/// A copy that grows.
pub(super) struct LogInCopy {
    pub(super) log: LogCopy,
    pub(super) to: Target,
    /// The log that is copied; `None` for one that comes from outside.
    pub(super) source: Option<Incarnation>,
    /// [`Mover::rows_deleted`](super::Mover) when the copy began.
    pub(super) rows_deleted: u32,
}

/// Where a copy is written.
pub(super) enum Target {
    /// The upstream. `from` is the place in the built-in log up to which it is copied.
    Upstream { from: u64, epochs: ProducerEpochs, appends: u64 },
    /// The storage. `page` is the offset of the page at the upstream that was read last.
    BuiltIn { log: BuiltInLog, page: Offset },
    /// The storage, for a log that comes from outside.
    Restored(BuiltInLog),
}

/// The result of one step: an early answer is one as well.
pub(super) type Step<T> = std::result::Result<T, Stopped>;

/// Why a step ends early.
pub(super) enum Stopped {
    Early(MoveAnswer),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<MoveAnswer> for Stopped {
    fn from(answer: MoveAnswer) -> Self {
        Self::Early(answer)
    }
}

/// The answer to a request of the copy that failed.
pub(super) fn refused(result: UpstreamResult) -> Stopped {
    let answer = match result {
        UpstreamResult::Refused(refusal) => Answer::Refused(refusal),
        _ => Answer::Unavailable,
    };
    MoveAnswer::Refused(Box::new(answer)).into()
}

pub(super) fn answered(step: Step<MoveAnswer>) -> Result<MoveAnswer> {
    match step {
        Ok(answer) | Err(Stopped::Early(answer)) => Ok(answer),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

/// A part of a built-in log, as an append to another place.
pub(super) struct Part {
    /// A JSON array of the events.
    pub(super) batch: Vec<u8>,
    pub(super) range: LogRange,
    /// The parent of the last event.
    pub(super) last_parent: SeqNum,
    /// The place behind the part.
    pub(super) end: u64,
}

impl Part {
    /// Reads the part behind a place.
    pub(super) async fn read(log: &BuiltInLog, from: u64, end: End) -> Result<Self> {
        let mut bytes = log.bytes(from, end).await?;
        let end = from + bytes.len() as u64;
        // Behind the last event is a comma.
        bytes.pop();
        let batch = [b"[", bytes.as_slice(), b"]"].concat();
        let (mut scanner, mut splitter) = (LogScanner::default(), MessageSplitter::default());
        let mut last_parent = ROOT;
        let split = splitter.feed(&batch, |message| {
            scanner.message(message);
            last_parent = link_of(message).map_or(last_parent, |(parent, _)| parent);
        });
        split.and_then(|()| splitter.finish()).map_err(unreadable)?;
        Ok(Self { batch, range: scanner.finish(), last_parent, end })
    }
}

/// The summary of the first events of a built-in log, which begin at a place. Pushes go on between its steps.
pub(super) async fn summary(log: &BuiltInLog, mut at: u64, events: u64) -> Step<LogRange> {
    let (mut scanner, mut splitter) = (LogScanner::default(), MessageSplitter::default());
    let mut taken = 0;
    splitter.feed(b"[", |_| {}).map_err(unreadable)?;
    while taken < events {
        let end = log.end().filter(|end| at < end.at);
        let Some(end) = end else { break };
        let bytes = log.bytes(at, end).await?;
        at += bytes.len() as u64;
        let split = splitter.feed(&bytes, |message| {
            if taken < events {
                scanner.message(message);
                taken += 1;
            }
        });
        split.map_err(unreadable)?;
        breathe().await;
    }
    Ok(scanner.finish())
}

fn unreadable(error: SplitError) -> Error {
    Error::from(format!("the log is unreadable: {error}"))
}

/// Writes the messages of a log to a copy in the storage, in parts.
pub(super) struct Writer {
    pub(super) copy: LogInCopy,
    /// Whether a part was written.
    pub(super) has_written: bool,
    /// The next part: a JSON array that has no end yet.
    part: Vec<u8>,
    scanner: LogScanner,
    /// The `seqNum` of the last event that was taken.
    head: SeqNum,
}

impl Writer {
    pub(super) fn new(copy: LogInCopy) -> Self {
        let head = copy.log.tip().head;
        let scanner = LogScanner::default();
        Self { copy, has_written: false, part: Vec::new(), scanner, head }
    }

    /// Takes the next message. The copy has a header of its own. A move may read events again that the copy has already.
    pub(super) fn take(&mut self, message: &[u8]) -> Step<()> {
        let is_restored = matches!(self.copy.to, Target::Restored(_));
        let Some((_, seq)) = link_of(message) else {
            let is_header = header_of(message).is_some();
            let is_first = self.head == ROOT && self.part.is_empty();
            return if is_header && (is_first || !is_restored) {
                Ok(())
            } else {
                Err(MoveAnswer::Invalid.into())
            };
        };
        if seq <= self.head {
            return if is_restored { Err(MoveAnswer::Invalid.into()) } else { Ok(()) };
        }
        if message.len() > MAX_ROW {
            return Err(MoveAnswer::Refused(Box::new(Answer::Refused(TOO_LARGE))).into());
        }
        if self.part.len() + message.len() > PART_BYTES {
            self.flush()?;
        }
        self.part.push(if self.part.is_empty() { b'[' } else { b',' });
        self.part.extend_from_slice(message);
        self.scanner.message(message);
        self.head = seq;
        Ok(())
    }

    /// Writes what was taken.
    pub(super) fn flush(&mut self) -> Step<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        self.part.push(b']');
        let (part, scanner) = (std::mem::take(&mut self.part), std::mem::take(&mut self.scanner));
        let (Target::BuiltIn { log, .. } | Target::Restored(log)) = &self.copy.to else {
            return Err(Error::from("a copy at another place").into());
        };
        match log.append_copied(&part)? {
            UpstreamResult::Appended(end) => {
                self.has_written = true;
                self.copy.log.add(&scanner.finish(), end).map_err(|_| MoveAnswer::Invalid.into())
            }
            result => Err(refused(result)),
        }
    }
}

/// Lets others have their turn.
pub(super) async fn breathe() {
    Delay::from(Duration::ZERO).await;
}
