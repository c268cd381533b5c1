//! The call between the Worker and the Sequencer: JSON of the core's own types. The events of a batch travel beside the
//! call as the body, untouched.
//!
//! For minutes after a deployment, two builds talk to each other. Therefore these types change only by addition. A new
//! field has a default (`#[serde(default)]`), and unknown fields are ignored. A Sequencer answers a call that it does not
//! understand with [`Answer::Unavailable`]. A Worker treats an answer that it does not understand in the same way, and the
//! client tries again. `core/tests/call.rs` keeps the calls and answers of earlier builds.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Answer, Need, Op, Tip};
use crate::event::{BackendId, Offset, Position, SeqNum};
use crate::log::{LogPart, LogPlace};
use crate::push_stats::PushStats;
use crate::segments::plan::Plan;
use crate::socket::SocketGrant;

/// The request header that carries a [`Call`].
pub const CALL_HEADER: &str = "headwater-call";

/// The request header that names a push's lease. A Sequencer in the Worker's isolate adopts that lease.
pub const LEASE_HEADER: &str = "headwater-lease";

/// The version of [`Call`]. It rises with a change that is more than an addition.
pub const VERSION: u32 = 1;

/// One call to a Sequencer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// The [`VERSION`] of the calling build; 0 for builds that sent none.
    #[serde(default)]
    pub version: u32,
    /// The store's encoded path ([`crate::names::StorePath`]), which a Durable Object does not know of itself.
    pub path: String,
    /// The question or the operation.
    pub ask: Ask,
}

/// The subject of a call.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// An operation that the core decides. Returns an [`Answer`].
    Op(Op),
    /// The known tip, at once. Returns an [`Answer`]. If the tip does not meet the need, the Sequencer looks
    /// afterwards, and knows more at the next call.
    Look(Need),
    /// The place of a position in the index. Returns a [`Located`].
    Locate(Position),
    /// Both, for a reader that knows neither the tip nor the place. Returns a [`ReadStart`].
    Read(Need, Position),
    /// The state that the inspector shows. Returns an [`Inspection`].
    Inspect,
    /// Reads the built-in log. The URL's query is the protocol's, and so is the answer.
    Log,
    /// Copies a part of the log to another place. The store goes on there once all is copied. Returns a [`MoveAnswer`].
    Move(LogPlace),
    /// Takes a part of a log that is restored to the Sequencer's storage. Returns a [`MoveAnswer`].
    Restore(LogPart),
    /// Opens a socket. Returns it, or an [`Answer`] that says why not.
    Connect(SocketGrant),
}

/// The answer to [`Ask::Move`] and [`Ask::Restore`].
#[derive(Debug, Serialize, Deserialize)]
pub enum MoveAnswer {
    /// The move or the restore goes on, or is done.
    Progress(Progress),
    /// The Sequencer can't tell the log's end, or the other place refuses. Holds its answer.
    Refused(Box<Answer>),
    /// The other place holds something else: the log of this backend id, if it has one.
    Taken(Option<BackendId>),
    /// The store to restore already exists, with this backend id.
    Exists(BackendId),
    /// The part does not follow the last event that was restored, which is this one.
    NotNext(SeqNum),
    /// The deployment has no upstream.
    NoUpstream,
    /// After the move, somebody appended to the log at the upstream.
    WentOn,
    /// The part is not a JSON array of events that follow one another, or the first part does not begin with a header.
    Invalid,
    /// A move or a restore of this store is under way.
    Busy,
}

/// The progress of a move or a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where the log is now.
    pub place: LogPlace,
    /// The `seqNum` of the last event that was copied.
    pub copied: SeqNum,
    /// The log's head.
    pub head: SeqNum,
    /// Whether nothing is left to do.
    pub done: bool,
}

/// The place of a position, as the Sequencer knows it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Located {
    /// The index knows the place.
    Found {
        /// The sealed segments from that place on.
        plan: Plan,
        /// The log and the index: the content at an offset depends on both.
        #[serde(rename = "life")] // the name in earlier builds
        incarnation: Incarnation,
    },
    /// The index does not know the offset. It may be another writer's, or another backend's.
    Unknown,
    /// The log ends before the event.
    Beyond {
        /// The log's head; 0 while there is no stream.
        head: SeqNum,
        /// The log's backend id; `None` while there is no stream.
        backend_id: Option<BackendId>,
    },
    /// The Sequencer can't tell. Holds its answer.
    Refused(Answer),
}

/// The answer to [`Ask::Read`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadStart {
    /// The answer to [`Ask::Look`].
    pub answer: Answer,
    /// The answer to [`Ask::Locate`].
    pub located: Located,
    /// Why the store is halted, if it is. Older builds leave it out.
    #[serde(default)]
    pub halted: Option<Answer>,
    /// Where the log is. Older builds leave it out.
    #[serde(default)]
    pub place: Option<LogPlace>,
    /// The shard of the upstream that has the log.
    #[serde(default)]
    pub shard: u32,
}

/// The answer to [`Ask::Inspect`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Inspection {
    /// A [`Shown`], which the Worker passes on unchanged.
    pub shown: Box<RawValue>,
    /// The offsets at which the listed segments begin, in the log's order.
    pub begins: Vec<Offset>,
    /// The incarnation that these offsets belong to; `None` while no tip is known.
    #[serde(rename = "life")] // the name in earlier builds
    pub incarnation: Option<Incarnation>,
}

/// The Sequencer's state, as the inspector shows it.
#[derive(Serialize)]
pub struct Shown<'a> {
    /// `ready`, `no-stream`, or the kind of the problem that a look at the store returned.
    pub state: &'static str,
    /// The problem in words.
    pub detail: Option<String>,
    /// The known tip.
    pub tip: Option<&'a Tip>,
    /// The last sealed segments, in the log's order.
    pub segments: &'a [Stored],
    /// The number of all sealed segments.
    pub sealed: u64,
    /// The number of open sockets.
    pub sockets: usize,
    /// The number of clients that wait for a [turn](crate::turns).
    pub waiting: usize,
    /// The pushes since the Sequencer started; `None` if it counts none.
    pub pushes: Option<&'a PushStats>,
    /// The room of a built-in log; `None` if the log is at an upstream.
    pub storage: Option<Room>,
    /// The shard of the upstream that has the log; `None` if the log is built in.
    pub shard: Option<u32>,
}

/// The room that a built-in log has.
#[derive(Clone, Copy, Serialize)]
pub struct Room {
    /// The bytes that the storage takes.
    pub bytes: u64,
    /// The most bytes that it may take.
    pub most: u64,
}

impl Room {
    /// Whether there is room for this many more bytes.
    pub fn has(&self, bytes: u64) -> bool {
        self.bytes + bytes <= self.most
    }

    /// Whether less than a fifth of the room is left.
    pub fn is_scarce(&self) -> bool {
        self.bytes > self.most / 5 * 4
    }
}

/// A sealed segment, as the index records it.
#[derive(Serialize)]
pub struct Stored {
    /// The offset at which it begins.
    pub from: Offset,
    /// The offset behind it.
    pub end: Offset,
    /// The `seqNum` of the last event.
    pub last: SeqNum,
    /// The number of events.
    pub events: u64,
    /// The number of bytes.
    pub bytes: u64,
}

/// The context of an offset. In another log or index, the same offset means something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The log's backend id.
    pub backend_id: BackendId,
    /// [`Sealed::index`](super::Sealed::index)
    pub index: Offset,
}

impl Incarnation {
    /// The incarnation of the log that ends at this tip.
    pub fn of(tip: &Tip) -> Self {
        Self { backend_id: tip.backend_id.clone(), index: tip.sealed.index.clone() }
    }
}
