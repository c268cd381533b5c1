//! The epochs of the Sequencer as an idempotent producer (protocol §5.2.1).

use std::cell::Cell;

use crate::isolate::now_ms;

/// How far ahead of this clock another clock may be: a day.
const MAX_AHEAD_MS: u64 = 24 * 60 * 60 * 1_000;

/// The current epoch. Each series of appends needs an epoch above all before: within an epoch, a server answers a
/// `producer_seq` that it has seen with "duplicate", and appends nothing. The clock raises the epoch across restarts. If
/// the clock is behind, the server names the epoch to exceed.
#[derive(Debug, Default)]
pub(crate) struct ProducerEpochs(Cell<u64>);

impl ProducerEpochs {
    /// The epoch of the append with this `producer_seq`. 0 begins a new epoch.
    pub(super) fn for_append(&self, producer_seq: u64) -> u64 {
        if producer_seq == 0 {
            self.0.set((self.0.get() + 1).max(now_ms()));
        }
        self.0.get()
    }

    /// Remembers the epoch that a server names as the one to exceed. False if it names none.
    ///
    /// An epoch that no clock can have made comes from something else. To exceed it could leave no higher epoch for the
    /// next time. Therefore it is ignored.
    pub(super) fn learn(&self, named: Option<String>) -> bool {
        let Some(named) = named.and_then(|epoch| epoch.parse::<u64>().ok()) else { return false };
        if named <= now_ms() + MAX_AHEAD_MS {
            self.0.set(self.0.get().max(named));
        }
        true
    }
}
