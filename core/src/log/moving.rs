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

/// Where the Worker reads a store's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAddress {
    /// The kind of place.
    pub place: LogPlace,
    /// The [shard](super::UpstreamUrl) of the upstream that has the log; 0 for a built-in log.
    pub shard: u32,
}

impl LogAddress {
    /// In the Sequencer's storage.
    pub const BUILT_IN: Self = Self { place: LogPlace::BuiltIn, shard: 0 };

    /// On a shard of the upstream.
    pub fn at(shard: u32) -> Self {
        Self { place: LogPlace::Upstream, shard }
    }
}

/// A part of a log that is restored. Its messages travel beside it: a JSON array, which begins with the header message
/// if the part is the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// The `seqNum` of the last event before the part; 0 for the first part.
    pub after: SeqNum,
    /// Whether the part is the last one.
    pub is_last: bool,
}
