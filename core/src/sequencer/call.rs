//! What the Worker says to the Sequencer and hears back: JSON of the core's own types. A batch's events travel beside it
//! as the body, untouched.
//!
//! For minutes after a deployment two builds talk to each other. So these types change additively only: a field that is
//! added has a default (`#[serde(default)]`), and one that is unknown is ignored. What a Sequencer does not understand it
//! answers with [`Answer::Unavailable`], and what a Worker does not understand is to it as that: the client tries again.
//! `core/tests/call.rs` keeps what earlier builds say.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Answer, Need, Op, Tip};
use crate::event::{BackendId, Offset, Position, SeqNum};
use crate::push_stats::PushStats;
use crate::segments::plan::Plan;

/// The request header that carries a [`Call`].
pub const CALL_HEADER: &str = "headwater-call";

/// The request header of a push that names its lease, for a Sequencer in the Worker's isolate to adopt.
pub const LEASE_HEADER: &str = "headwater-lease";

/// The version of [`Call`]: counted up where a change is more than an addition.
pub const VERSION: u32 = 1;

/// One call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`] of the build that calls; 0 of those before it was said.
    #[serde(default)]
    pub version: u32,
    /// The store's encoded path ([`crate::names::StorePath`]), which a Durable Object does not know of itself.
    pub path: String,
    /// What is wanted.
    pub ask: Ask,
}

/// What is wanted.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Something that the core decides; an [`Answer`] comes back.
    Op(Op),
    /// What is known of the tip, at once; an [`Answer`] comes back. If it is not what is needed, the
    /// Sequencer looks afterwards, and knows more when it is asked next.
    Look(Need),
    /// The place of a position in the index; a [`Located`] comes back.
    Locate(Position),
    /// Both at once, for a reader that knows neither the tip nor the place; a [`ReadStart`] comes back.
    Read(Need, Position),
    /// What an inspector shows; an [`Inspection`] comes back.
    Inspect,
}

/// What the Sequencer knows of a position.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Located {
    /// Where it is, and what lies before the reader from there.
    Found {
        /// The sealed segments from there.
        plan: Plan,
        /// Whose log, and in which index: what lies at an offset depends on both.
        #[serde(rename = "life")] // the name that earlier builds know
        incarnation: Incarnation,
    },
    /// The index does not know the offset: another writer's, or another backend's.
    Unknown,
    /// The log ends before the event.
    Beyond {
        /// Its head; 0 while there is no stream.
        head: SeqNum,
        /// Whose log; `None` while there is no stream.
        backend_id: Option<BackendId>,
    },
    /// The Sequencer can't tell.
    Refused(Answer),
}

/// What a reader needs to begin.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadStart {
    /// As to [`Ask::Look`].
    pub answer: Answer,
    /// As to [`Ask::Locate`].
    pub located: Located,
}

/// What the Sequencer tells an inspector.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inspection {
    /// A [`Shown`], which the Worker passes on as it is.
    pub shown: Box<RawValue>,
    /// Where the listed segments begin, in the log's order.
    pub begins: Vec<Offset>,
    /// What these offsets mean something in; `None` while no tip is known.
    #[serde(rename = "life")] // the name that earlier builds know
    pub incarnation: Option<Incarnation>,
}

/// What an inspector shows of what the Sequencer knows.
#[derive(Serialize)]
pub struct Shown<'a> {
    /// `ready`, `no-stream`, or the kind of the problem that a look at the store meets.
    pub state: &'static str,
    /// The problem, for a person.
    pub detail: Option<String>,
    /// The tip that is known.
    pub tip: Option<&'a Tip>,
    /// The last sealed segments, in the log's order.
    pub segments: &'a [Stored],
    /// How many there are.
    pub sealed: u64,
    /// Since the Sequencer started; `None` if none are counted.
    pub pushes: Option<&'a PushStats>,
}

/// A sealed segment, as the index has it.
#[derive(Serialize)]
pub struct Stored {
    /// The offset at which it begins.
    pub from: Offset,
    /// The offset behind it.
    pub end: Offset,
    /// `seqNum` of its last event.
    pub last: SeqNum,
    /// How many events.
    pub events: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What an offset means something in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Whose log.
    pub backend_id: BackendId,
    /// [`Sealed::index`](super::Sealed::index)
    pub index: Offset,
}

impl Incarnation {
    /// Of the log that ends so.
    pub fn of(tip: &Tip) -> Self {
        Self { backend_id: tip.backend_id.clone(), index: tip.sealed.index.clone() }
    }
}
