//! What the Sequencer knows of the end of the log, and how sure it is.

use super::{Halt, Tip};

/// How sure the Sequencer is of the end of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TipState {
    /// The Sequencer must read the stream from its start. Holds the last known tip, if there was one.
    Unknown(Option<Tip>),
    /// The tip as it was stored, or as it was before a failure. The Sequencer must compare it with the log.
    Unverified(Tip),
    /// The log does not hold the append that made this head. The Sequencer must check whose log it is.
    Contradicted(Tip),
    /// The log has moved past this tip. The Sequencer must read what follows.
    Behind(Tip),
    /// The tip is the end of the log.
    Verified(Tip),
    /// The upstream has no such stream. Holds the tip of the stream that this Sequencer deleted.
    NoStream(Option<Tip>),
    /// The log is not what it was, therefore the store takes no pushes.
    Halted(Halt, Option<Tip>),
}

impl TipState {
    #[inline(never)]
    pub(super) fn into_tip(self) -> Option<Tip> {
        match self {
            Self::Unverified(tip)
            | Self::Contradicted(tip)
            | Self::Behind(tip)
            | Self::Verified(tip) => Some(tip),
            Self::Unknown(tip) | Self::Halted(_, tip) | Self::NoStream(tip) => tip,
        }
    }

    /// The state after a failure: the Sequencer must verify the tip before it relies on it.
    #[inline(never)]
    pub(super) fn unverified(self) -> Self {
        match self {
            Self::Verified(tip) | Self::Halted(_, Some(tip)) => Self::Unverified(tip),
            Self::Halted(_, None) => Self::Unknown(None),
            other => other,
        }
    }

    /// The state once the log has moved past a verified tip.
    pub(super) fn behind(self) -> Self {
        match self {
            Self::Verified(tip) => Self::Behind(tip),
            other => other,
        }
    }
}
