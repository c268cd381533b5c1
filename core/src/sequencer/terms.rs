//! What the core is told and what it says.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::event::{BackendId, Fingerprint, Offset, SeqNum};
use crate::log::{Known, LogRange, Probe};
use crate::segments::plan::SegmentSize;

/// Names one call to the Sequencer, so that its answer finds it. Chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a caller wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Append a batch.
    Push {
        /// The checked batch.
        batch: Batch,
        /// The backend the client believes in, if it said.
        backend_id: Option<BackendId>,
    },
    /// Tell the tip.
    Look(Need),
    /// Make sure that the stream exists (after asking the upstream), then tell the tip.
    Ensure,
    /// Delete the stream and begin a new backend.
    Reset,
    /// Take the log that the upstream has now for the store's, whoever began it.
    Adopt,
}

/// How new the tip must be that a look is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Need {
    /// What is known will do.
    Known,
    /// Someone has seen the log reach this offset: what is known will do if it reaches as far.
    Reaching(Offset),
    /// As the upstream has it now.
    Fresh,
}

/// The end of the log as the Sequencer knows it: the authoritative head, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tip {
    /// Which incarnation of the stream this is.
    pub backend_id: BackendId,
    /// `seqNum` of the last event; 0 without events.
    pub head: SeqNum,
    /// The offset behind the last event.
    pub offset: Offset,
    /// Events in the stream.
    pub events: u64,
    /// Bytes of all messages in the stream; white space that a push had between them may count.
    pub bytes: u64,
    /// Up to where the log is cut into segments.
    pub sealed: Sealed,
    /// Parent and fingerprint of what made the head, to know it again.
    pub made_by: Option<(SeqNum, Fingerprint)>,
    /// Where what made the head begins; `None` if that is the log's start, as after all of it was read. Only the
    /// Sequencer needs it.
    #[serde(skip)]
    pub before: Option<Before>,
    /// Whether the call that this answers created the stream. An older build does not tell it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
}

/// A place in the log before what made the head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Before {
    /// The offset.
    pub offset: Offset,
    /// Events up to there.
    pub events: u64,
    /// Bytes up to there.
    pub bytes: u64,
}

/// What is stored of a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The tip that was recorded last.
    pub tip: Tip,
    /// Whether the Sequencer set out to delete this stream, and recorded nothing since.
    pub deleting: bool,
}

/// As much as one batch may have by default.
const MAX_RECALL_BYTES: u64 = 1 << 20;

/// Up to where the log is cut into segments: sealed, immutable runs of whole appends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sealed {
    /// Where the first append that the index knows of ends. An index that had to be begun anew has
    /// another one, mostly: what was cut after the old one is not mixed with what is cut after it.
    pub index: Offset,
    /// The end of the last segment; the protocol's start of the stream while there is none.
    pub offset: Offset,
    /// Events up to there.
    pub events: u64,
    /// Bytes up to there.
    pub bytes: u64,
}

impl Tip {
    /// The tip behind what was just learned, sealing what lies before it if that is long enough.
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

    /// The tip behind a batch that landed after it and ends at `offset`.
    pub(super) fn with(&self, batch: &Batch, offset: Offset) -> Self {
        self.moved(batch.events, batch.bytes, batch.last, offset, (batch.parent, batch.fingerprint))
    }

    /// The tip behind what was read after it.
    pub(super) fn followed_by(&self, stretch: &LogRange, end: Offset) -> Self {
        match stretch.link {
            Some((parent, head)) => {
                self.moved(stretch.events, stretch.bytes, head, end, (parent, stretch.fingerprint))
            }
            None => Self { offset: end, ..self.clone() },
        }
    }

    fn moved(
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
        }
    }

    /// What made the head, to be found again where `skip` says how many events are read before it.
    fn known(&self, skip: u64) -> Option<Known> {
        let before = self.before.as_ref().map_or(0, |before| before.events);
        let (_, fingerprint) = self.made_by?;
        Some(Known { skip, events: self.events.saturating_sub(before), fingerprint })
    }

    /// What made the head, as a read of the whole log must find it.
    pub(super) fn in_the_whole(&self) -> Option<Known> {
        self.known(self.before.as_ref().map_or(0, |before| before.events))
    }

    /// The small read that tells whether the log still holds what made the head, and what has followed it since: from
    /// where, and what it begins with. `None` if it would not be small.
    pub(super) fn recall(&self) -> Option<(Offset, Known)> {
        let before = self.before.as_ref()?;
        let is_small = self.bytes.saturating_sub(before.bytes) <= MAX_RECALL_BYTES;
        self.known(0).filter(|_| is_small).map(|known| (before.offset.clone(), known))
    }

    /// Whether a segment ends here.
    pub fn seals(&self) -> bool {
        self.sealed.offset == self.offset
    }
}

impl Sealed {
    /// Nothing is sealed yet of a log whose index begins with the append that ends at `index`.
    pub fn nothing(index: Offset) -> Self {
        Self { index, offset: Offset(Offset::START.into()), events: 0, bytes: 0 }
    }
}

/// Why the Sequencer refuses to append until an administrator acts, or the log is what it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Halt {
    /// The upstream has no such stream any more, and this Sequencer did not delete it. Holds the head that was
    /// acknowledged.
    Missing(SeqNum),
    /// Another incarnation is in its place, and this Sequencer did not create it. Holds its backend id.
    Replaced(BackendId),
    /// The upstream holds something else where the acknowledged events were. Holds the head that was acknowledged.
    Altered(SeqNum),
    /// The upstream no longer keeps the beginning of the log (protocol §4, retention), or has it deleted softly (§5.4).
    Trimmed,
    /// The upstream no longer has events that it acknowledged.
    WentBackwards {
        /// The head that was acknowledged.
        acknowledged: SeqNum,
        /// The head that the upstream has now.
        found: SeqNum,
    },
    /// The log is no chain: something other than Headwater wrote to it. Holds where.
    Broken(String),
    /// The stream was closed: it takes no appends any more.
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
    /// It was before this push, which appended nothing.
    AcceptedAgain(Tip),
    /// The batch was made on a head that has been passed.
    ServerAhead {
        /// The lowest `seqNum` that would be accepted.
        minimum_expected: SeqNum,
        /// The `seqNum` that came.
        provided: SeqNum,
    },
    /// The batch was made on a head that does not exist.
    Gap {
        /// The head.
        head: SeqNum,
        /// The batch's parent.
        parent: SeqNum,
    },
    /// The client knows another incarnation of this store.
    BackendIdMismatch {
        /// The store's backend id.
        expected: BackendId,
        /// The client's.
        received: BackendId,
    },
    /// The end of the log; `None` while there is no stream.
    Tip(Option<Tip>),
    /// Too many pushes wait already.
    Overloaded,
    /// The upstream does not answer, or not so that it can be believed. The batch of a push may still land.
    Unavailable,
    /// The upstream refused.
    Refused(Refusal),
    /// Nothing is appended until an administrator acts, or the log is what it was; whose it is, if that is known.
    Halted(Halt, Option<BackendId>),
}

impl Answer {
    /// How a push was accepted, in a word, and the end of the log since; `None` for every other answer.
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
    /// Ask whose stream it is, and where it ends.
    Check,
    /// Read the whole stream.
    ReadAll {
        /// The batch that made the head, to look for.
        known: Option<Known>,
        /// The batch that may have landed, to look for.
        probe: Option<Probe>,
    },
    /// Read what follows `from`, to the tail.
    ReadOn {
        /// The offset to read from.
        from: Offset,
        /// The batch that made the head, if `from` lies before it.
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
        /// How many appends have landed one after the other since the log was last looked at. The
        /// upstream is to refuse if it knows of fewer: then it is not the server, or not the log, of
        /// the append before.
        producer_seq: u64,
    },
    /// Delete the stream.
    Delete,
}

/// What became of a request. Each request has the replies that its variant names, and `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamResult {
    /// To `Check`: the backend id of the header message, if the stream begins with one, and the tail.
    Checked(Option<BackendId>, Offset),
    /// To the reads: what was read, and the offset behind it.
    Read(LogRange, Offset),
    /// To `Create`: created, with this header, which ends at this offset.
    Created(BackendId, Offset),
    /// To `Create`: there is a stream already.
    Exists,
    /// To `Append`: landed, as the server has confirmed; the new tail.
    Appended(Offset),
    /// To `Append`: not appended, because of the fence.
    Conflict,
    /// To `Append`: not appended, because the stream is closed (protocol §4.1).
    Closed,
    /// To `Delete`: deleted.
    Deleted,
    /// To any: there is no such stream, says whoever answered.
    Missing,
    /// To any: it is no longer kept (protocol §5.6), or deleted softly.
    Gone,
    /// To the reads and `Check`: what came is no array of JSON messages.
    Unreadable,
    /// To any: the server refused, and did nothing.
    Refused(Refusal),
    /// To any: no answer, or none that tells. A change that was asked for may have happened, or may yet.
    Failed,
}

/// What the driver brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A new call.
    Call(Ticket, Op),
    /// The outcome of the open request.
    Upstream(UpstreamResult),
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Store the tip: one row.
    Record(Tip),
    /// Drop all that is stored: it described another incarnation.
    Forget,
    /// Store that this Sequencer is about to delete the stream, durably before the request that follows is sent. The
    /// next `Record` or `Forget` ends it.
    Deleting,
    /// Answer a call. Its batch is needed no longer.
    Answer(Ticket, Answer),
    /// Send a request upstream; how many have failed just before, to be waited out, comes with it.
    Request(Request, u8),
}
