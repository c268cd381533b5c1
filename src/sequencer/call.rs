//! What the Worker says to the Sequencer and hears back. Both are the same build, so plain JSON of
//! the core's own types will do; a batch's events travel beside it as the body, untouched.

use serde::{Deserialize, Serialize};

use super::core::{Answer, Need, Op};
use super::plan::Plan;
use crate::event::{BackendId, Offset, SeqNum};

/// The request header that carries a [`Call`].
pub const CALL_HEADER: &str = "headwater-call";

/// One call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
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
}

/// Where a reader wants to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// At an offset, which may be [`Offset::START`].
    Offset(Offset),
    /// At the append that holds the event after this one.
    After(SeqNum),
}

/// What the Sequencer knows of a position.
#[derive(Debug, Serialize, Deserialize)]
pub enum Located {
    /// Where it is, and what lies before the reader from there.
    Found {
        /// The sealed segments from there.
        plan: Plan,
        /// Whose log, and in which index: what lies at an offset depends on both.
        life: Life,
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

/// What an offset means something in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Whose log.
    pub backend_id: BackendId,
    /// [`Sealed::index`](super::core::Sealed::index)
    pub index: Offset,
}
