//! The copy of a log at another place, as a move or a restore writes it.

use std::fmt;

use super::{Tail, Tip};
use crate::event::{BackendId, Offset};
use crate::log::LogRange;
use crate::segments::plan::SegmentSize;

/// A copy of a log, and the index that it gets. The same events are at other offsets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCopy {
    size: SegmentSize,
    /// One tip for each range that was copied, and one for the beginning. The last one is the end of the copy.
    tips: Vec<Tip>,
}

/// Stands before the name of a copy, in the name of its index and in the log's address.
const MARK: &str = "~copy-";

/// The name of an index that replaces the one named `old`, of the same log.
pub(super) fn renewed(index: &Offset, old: &Offset) -> Offset {
    match old.0.split_once(MARK) {
        Some((_, name)) => Offset(format!("{}{MARK}{name}", index.0)),
        None => index.clone(),
    }
}

/// The name of a log in its address: in a copy, the offsets of the original mean something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    /// The log's backend id.
    pub backend_id: BackendId,
    /// The name of the copy; `None` for a log that was never copied.
    pub copy: Option<String>,
}

impl LogName {
    /// The name of the log that ends at this tip.
    pub fn of(tip: &Tip) -> Self {
        let copy = tip.sealed.index.0.split_once(MARK).map(|(_, name)| name.into());
        Self { backend_id: tip.backend_id.clone(), copy }
    }

    /// The name that an address has.
    pub fn parse(text: &str) -> Self {
        match text.split_once(MARK) {
            Some((id, name)) => Self { backend_id: BackendId(id.into()), copy: Some(name.into()) },
            None => Self { backend_id: BackendId(text.into()), copy: None },
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.backend_id.0)?;
        match &self.copy {
            Some(name) => write!(f, "{MARK}{name}"),
            None => Ok(()),
        }
    }
}

/// Why a range can't be added to a copy: it does not follow the copy's last event, or is not a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTheNext;

impl LogCopy {
    /// A copy without events. It ends at `end`, behind the header message. Each copy needs a new `name`. Otherwise a cached
    /// segment of an earlier copy could pass for one of this copy.
    pub fn begun(backend_id: BackendId, end: Offset, name: &str, size: SegmentSize) -> Self {
        Self::of(Tip::of_empty_log(backend_id, end), name, size)
    }

    /// A copy that a move has left behind, read from its start to `end`. `name` as for [`Self::begun`].
    pub fn found(
        backend_id: BackendId,
        range: &LogRange,
        end: Tail,
        name: &str,
        size: SegmentSize,
    ) -> Self {
        Self::of(Tip::of_whole_log(backend_id, range, end).sealing(size), name, size)
    }

    fn of(mut tip: Tip, name: &str, size: SegmentSize) -> Self {
        tip.sealed.index = Offset(format!("{}{MARK}{name}", tip.sealed.index.0));
        Self { size, tips: vec![tip] }
    }

    /// The end of the copy.
    pub fn tip(&self) -> &Tip {
        self.tips.last().expect("a copy has a beginning")
    }

    /// Adds a range that was appended to the copy and ends at `end`.
    pub fn add(&mut self, range: &LogRange, end: Offset) -> Result<(), NotTheNext> {
        if !range.continues(self.tip().head) {
            return Err(NotTheNext);
        }
        let tip = self.tip().after_range(range, end.into()).sealing(self.size);
        self.tips.push(tip);
        Ok(())
    }

    /// Records that the copy is closed, as its log is.
    pub fn close(&mut self) {
        if let Some(tip) = self.tips.last_mut() {
            tip.closed = true;
        }
    }

    /// What a Sequencer records of the copy, in the log's order.
    pub fn into_index(self) -> Vec<Tip> {
        self.tips
    }
}
