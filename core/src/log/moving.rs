//! The terms of moving a log, and of restoring one.

use serde::{Deserialize, Serialize};

use crate::event::SeqNum;

/// Where a store's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogPlace {
    /// In the Sequencer's storage.
    BuiltIn,
    /// At the upstream.
    Upstream,
}

impl LogPlace {
    /// The place of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "built-in" => Some(Self::BuiltIn),
            "upstream" => Some(Self::Upstream),
            _ => None,
        }
    }
}

/// A part of a log that is restored. Its messages travel beside it: a JSON array, which begins with the header message if the
/// part is the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// The `seqNum` of the last event before the part; 0 for the first part.
    pub after: SeqNum,
    /// Whether the part is the last one.
    pub is_last: bool,
}
