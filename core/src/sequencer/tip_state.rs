//! What the Sequencer believes of the end of the log, and how sure it is.

use super::{Halt, Tip};

/// How sure the Sequencer is of the end of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TipState {
    /// The stream must be read from its start. Holds the tip that the upstream contradicted, if that is why.
    Unknown(Option<Tip>),
    /// The tip as stored, or as it was before something went wrong: to be compared with the log.
    Unverified(Tip),
    /// The log does not hold what made this head where it was: whose log is it?
    Contradicted(Tip),
    /// The log has moved past this tip: what follows it is to be read.
    Behind(Tip),
    /// The tip.
    Verified(Tip),
    /// The upstream has no such stream. Holds the tip of the one that this Sequencer deleted.
    NoStream(Option<Tip>),
    /// The log can't be trusted.
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

    /// The same, but to be checked against the upstream before it is relied on.
    #[inline(never)]
    pub(super) fn doubted(self) -> Self {
        match self {
            Self::Verified(tip) | Self::Halted(_, Some(tip)) => Self::Unverified(tip),
            Self::Halted(_, None) => Self::Unknown(None),
            other => other,
        }
    }

    /// The log has moved past the tip.
    pub(super) fn passed(self) -> Self {
        match self {
            Self::Verified(tip) => Self::Behind(tip),
            other => other,
        }
    }
}
