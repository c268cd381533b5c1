//! The terms of the Sequencer: calls, tips, requests, results, effects and answers.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::event::{BackendId, Fingerprint, Offset, ROOT, SeqNum};
use crate::log::{Known, LogRange, Probe};
use crate::segments::plan::SegmentSize;

/// Names one call to the Sequencer, so that its answer finds it. The driver chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a call asks of the Sequencer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Append a batch.
    Push {
        /// The checked batch.
        batch: Batch,
        /// The backend id that the client sent, if it sent one.
        backend_id: Option<BackendId>,
    },
    /// Tell the tip.
    Look(Need),
    /// Ask the upstream, create the stream if it is missing, then tell the tip.
    Ensure,
    /// Delete the stream and begin a new backend.
    Reset,
    /// Take the log that the upstream has now for the store's log.
    Adopt,
    /// Close the stream for good (protocol §5.3): it takes no more pushes.
    Close(
        /// The incarnation to close, if the caller names one. Another one stays open.
        Option<BackendId>,
    ),
    /// Delete the stream of this incarnation for good. Another one stays.
    Delete(BackendId),
}

/// How recent the tip must be that answers a look.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Need {
    /// The tip that the Sequencer knows.
    Known,
    /// A tip that reaches this offset, which a reader has seen.
    Reaching(Offset),
    /// The tip that the upstream has now.
    Fresh,
}

/// The end of the log as the Sequencer knows it: the authoritative head, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tip {
    /// The incarnation of the log.
    pub backend_id: BackendId,
    /// The `seqNum` of the last event; 0 without events.
    pub head: SeqNum,
    /// The offset behind the last event.
    pub offset: Offset,
    /// Events in the stream.
    pub events: u64,
    /// Bytes of all messages in the stream. White space between the events of a push may count.
    pub bytes: u64,
    /// How far the log is cut into segments.
    pub sealed: Sealed,
    /// Parent and fingerprint of the append that made the head.
    pub made_by: Option<(SeqNum, Fingerprint)>,
    /// The place before the append that made the head; `None` for the start of the log, as after a read of the whole
    /// log. Only the Sequencer needs it.
    #[serde(skip)]
    pub before: Option<Before>,
    /// Whether the call that this tip answers created the stream. Older builds leave it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// Whether the stream is closed (protocol §4.1). No row has it, because every look at the tail tells it. Older
    /// builds leave it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// The end of the log, as the upstream tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tail {
    /// The offset behind the last message.
    pub offset: Offset,
    /// Whether the stream is closed.
    pub closed: bool,
}

impl From<Offset> for Tail {
    fn from(offset: Offset) -> Self {
        Self { offset, closed: false }
    }
}

/// The place in the log before the append that made the head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Before {
    /// The offset.
    pub offset: Offset,
    /// Events before this place.
    pub events: u64,
    /// Bytes before this place.
    pub bytes: u64,
}

/// The state that the Sequencer stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The last recorded tip.
    pub tip: Tip,
    /// Whether the Sequencer set out to delete this stream, and has recorded nothing since.
    pub deleting: bool,
}

/// The longest append that a verification reads again: the default of `MAX_BATCH_BYTES`.
const MAX_VERIFICATION_BYTES: u64 = 1 << 20;

/// How far the log is cut into segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sealed {
    /// Names the index: the end of the first append in it, and a text of its own if the log was copied. A rebuilt index
    /// usually has another value. Therefore segments of the old index and of the new one are never mixed.
    pub index: Offset,
    /// The end of the last segment; [`Offset::START`] while there is none.
    pub offset: Offset,
    /// Events before the end of the last segment.
    pub events: u64,
    /// Bytes before the end of the last segment.
    pub bytes: u64,
}

impl Tip {
    /// The tip of a log without events that ends at `offset`.
    pub(super) fn of_empty_log(backend_id: BackendId, offset: Offset) -> Self {
        Self {
            backend_id,
            head: ROOT,
            sealed: Sealed::nothing(offset.clone()),
            offset,
            events: 0,
            bytes: 0,
            made_by: None,
            before: None,
            created: false,
            closed: false,
        }
    }

    /// The tip of a log that was read from its start to `end`.
    pub(super) fn of_whole_log(backend_id: BackendId, range: &LogRange, end: Tail) -> Self {
        Self {
            head: range.link.map_or(ROOT, |(_, last)| last),
            events: range.events,
            bytes: range.bytes,
            made_by: range.link.map(|(parent, _)| (parent, range.fingerprint)),
            closed: end.closed,
            ..Self::of_empty_log(backend_id, end.offset)
        }
    }

    /// The same tip, which seals the run before it if that is long enough.
    pub(super) fn sealing(mut self, size: SegmentSize) -> Self {
        let events = self.events.saturating_sub(self.sealed.events);
        let bytes = self.bytes.saturating_sub(self.sealed.bytes);
        if events >= size.events || bytes >= size.bytes {
            self.sealed.offset = self.offset.clone();
            self.sealed.events = self.events;
            self.sealed.bytes = self.bytes;
        }
        self
    }

    /// The tip after a batch that was appended to this one and ends at `offset`.
    pub(super) fn after_append(&self, batch: &Batch, offset: Offset) -> Self {
        self.advanced(
            batch.events,
            batch.bytes,
            batch.last,
            offset,
            (batch.parent, batch.fingerprint),
        )
    }

    /// The tip after a range that follows this one and ends at `end`.
    pub(super) fn after_range(&self, range: &LogRange, end: Tail) -> Self {
        let Tail { offset, closed } = end;
        let tip = match range.link {
            Some((parent, head)) => {
                self.advanced(range.events, range.bytes, head, offset, (parent, range.fingerprint))
            }
            None => Self { offset, ..self.clone() },
        };
        Self { closed, ..tip }
    }

    fn advanced(
        &self,
        events: u64,
        bytes: u64,
        head: SeqNum,
        offset: Offset,
        by: (SeqNum, Fingerprint),
    ) -> Self {
        Self {
            backend_id: self.backend_id.clone(),
            head,
            offset,
            events: self.events + events,
            bytes: self.bytes + bytes,
            sealed: self.sealed.clone(),
            made_by: Some(by),
            before: Some(Before {
                offset: self.offset.clone(),
                events: self.events,
                bytes: self.bytes,
            }),
            created: false,
            closed: self.closed,
        }
    }

    /// The append that made the head, for a read that has `skip` events before it.
    fn known(&self, skip: u64) -> Option<Known> {
        let before = self.before.as_ref().map_or(0, |before| before.events);
        let (_, fingerprint) = self.made_by?;
        Some(Known { skip, events: self.events.saturating_sub(before), fingerprint })
    }

    /// The append that made the head, for a read of the whole log.
    pub(super) fn known_from_start(&self) -> Option<Known> {
        self.known(self.before.as_ref().map_or(0, |before| before.events))
    }

    /// The small read that verifies the tip: its offset, and the append that it must begin with. `None` if the read
    /// would not be small.
    pub(super) fn verification_read(&self) -> Option<(Offset, Known)> {
        let before = self.before.as_ref()?;
        let is_small = self.bytes.saturating_sub(before.bytes) <= MAX_VERIFICATION_BYTES;
        self.known(0).filter(|_| is_small).map(|known| (before.offset.clone(), known))
    }

    /// Whether a segment ends at this tip.
    pub fn seals(&self) -> bool {
        self.sealed.offset == self.offset
    }
}

impl Sealed {
    /// No segments yet, in a log whose index begins with the append that ends at `index`.
    pub fn nothing(index: Offset) -> Self {
        Self { index, offset: Offset(Offset::START.into()), events: 0, bytes: 0 }
    }
}

/// Why the Sequencer takes no pushes until an administrator acts, or the log is what it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Halt {
    /// The upstream no longer has the stream, and this Sequencer did not delete it. Holds the acknowledged head.
    Missing(SeqNum),
    /// Another incarnation is in the log's place, and this Sequencer did not create it. Holds the backend id found.
    Replaced(BackendId),
    /// The upstream holds other events in the place of acknowledged ones. Holds the acknowledged head.
    Altered(SeqNum),
    /// The upstream no longer keeps the beginning of the log (protocol §4, retention), or deleted it softly (§5.4).
    Trimmed,
    /// The upstream no longer has events that it acknowledged.
    WentBackwards {
        /// The acknowledged head.
        acknowledged: SeqNum,
        /// The head that the upstream has now.
        found: SeqNum,
    },
    /// The log is not a chain: something other than Headwater wrote to it. Holds the place of the first break.
    Broken(String),
    /// The stream is closed. Only earlier builds answer so: now it is [`Answer::Closed`].
    Closed,
}

/// A refusal of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Its `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The batch is in the log, once.
    Accepted(Tip),
    /// The batch was in the log already, and this push appended nothing.
    AcceptedAgain(Tip),
    /// The push is stale: its parent is below the head.
    ServerAhead {
        /// The `seqNum` of the next event.
        minimum_expected: SeqNum,
        /// The `seqNum` of the batch's first event.
        provided: SeqNum,
    },
    /// The push leaves a gap: its parent is above the head.
    Gap {
        /// The store's head.
        head: SeqNum,
        /// The batch's parent.
        parent: SeqNum,
    },
    /// The client means another incarnation of this store.
    BackendIdMismatch {
        /// The store's backend id.
        expected: BackendId,
        /// The client's.
        received: BackendId,
    },
    /// The end of the log; `None` while there is no stream.
    Tip(Option<Tip>),
    /// Too many calls wait already.
    Overloaded,
    /// The upstream does not answer, or its answers contradict each other. The batch of a push may still land.
    Unavailable,
    /// The upstream refused the request.
    Refused(Refusal),
    /// The store is halted. Holds the store's backend id, if it is known.
    Halted(Halt, Option<BackendId>),
    /// The stream is closed, and takes no more pushes.
    Closed(Tip),
    /// The stream was deleted for good.
    Deleted,
}

impl Answer {
    /// Whether the store is halted because the upstream has other events than the store's. A log that only ends too early
    /// has them as far as it goes.
    pub fn is_of_another_log(&self) -> bool {
        matches!(self, Self::Halted(Halt::Replaced(_) | Halt::Altered(_), _))
    }

    /// How a push was accepted, in a word, and the tip after it; `None` for every other answer.
    pub fn accepted(&self) -> Option<(&'static str, &Tip)> {
        match self {
            Self::Accepted(tip) => Some(("accepted", tip)),
            Self::AcceptedAgain(tip) => Some(("accepted-again", tip)),
            _ => None,
        }
    }
}

/// One request to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read the header message and the tail.
    Check,
    /// Read the whole stream.
    ReadAll {
        /// The append that made the head, to look for.
        known: Option<Known>,
        /// The batch that may have landed, to look for.
        probe: Option<Probe>,
    },
    /// Read from `from` to the tail.
    ReadOn {
        /// The offset to read from.
        from: Offset,
        /// The append that made the head, if `from` lies before it.
        known: Option<Known>,
        /// The batch that may have landed, to look for.
        probe: Option<Probe>,
    },
    /// Create the stream with a header message, under a new backend id.
    Create,
    /// Append the batch of this call, fenced with `parent`.
    Append {
        /// The call whose batch it is.
        ticket: Ticket,
        /// The parent of the batch's first event.
        parent: SeqNum,
        /// How many appends have landed in a row since the last look at the log. An upstream that knows fewer refuses:
        /// it is another server, or holds another log, than at the append before.
        producer_seq: u64,
    },
    /// Close the stream (protocol §5.3).
    Close,
    /// Delete the stream.
    Delete,
}

/// The result of a request. Each variant names the requests that can have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamResult {
    /// To `Check`: the backend id of the header message, if there is one, and the tail.
    Checked(Option<BackendId>, Tail),
    /// To the reads: the range that was read, and its end.
    Read(LogRange, Tail),
    /// To `Create`: the upstream created the stream. Holds the header's backend id, and the offset behind the header.
    Created(BackendId, Offset),
    /// To `Create`: the stream exists already.
    Exists,
    /// To `Append`: the server confirmed that the batch landed. Holds the new tail.
    Appended(Offset),
    /// To `Append`: the fence refused the batch, or the stream is closed (protocol §4.1).
    Conflict,
    /// To `Close`: the stream is closed.
    Closed,
    /// To `Delete`: the upstream deleted the stream.
    Deleted,
    /// To any: the answer says that there is no such stream. It may be a foreign answer.
    Missing,
    /// To any: the upstream no longer keeps the stream or the offset (protocol §5.6), or deleted it softly.
    Gone,
    /// To the reads and `Check`: the body is not an array of JSON messages.
    Unreadable,
    /// To any: the server refused, and changed nothing.
    Refused(Refusal),
    /// To any: the outcome is unknown. A change may have happened, or may still happen.
    Failed,
}

/// What the driver hands to the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A new call.
    Call(Ticket, Op),
    /// The result of the open request.
    Upstream(UpstreamResult),
}

/// News of the log, for live readers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum News {
    /// The batch of this call landed behind the offset `from`.
    Appended {
        /// The call.
        ticket: Ticket,
        /// The parent of the batch's first event.
        parent: SeqNum,
        /// The offset before the batch.
        from: Offset,
        /// The tip behind the batch.
        tip: Tip,
    },
    /// The log has moved on to this tip. The Sequencer does not hold what is new.
    Moved(Tip),
    /// The log of this tip is not the one that the Sequencer knew before.
    Begun(Tip),
    /// The log was deleted, and there is no other one.
    Deleted,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Store the tip: one row. The row may lag behind the effects that follow, by any number of appends, while the stored
    /// rows are of the same incarnation. The first row of an incarnation may not.
    Record(Tip),
    /// Tell the live readers. If a call caused the news, its answer comes before.
    Publish(News),
    /// Remember that another writer appends to the log beside this Sequencer.
    MetDirectWriter,
    /// Delete all rows: they describe another incarnation.
    Forget,
    /// Store that this Sequencer is about to delete the stream, durably before the request that follows. The next
    /// `Record` or `Forget` ends the intent.
    Deleting,
    /// Answer a call. The driver may drop its batch.
    Answer(Ticket, Answer),
    /// Send a request upstream, after a pause that grows with this number of failures just before.
    Request(Request, u8),
}
