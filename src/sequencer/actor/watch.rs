//! The watch over the log of a store that also has direct writers.

use std::rc::Rc;
use std::time::Duration;

use headwater_core::sequencer::{Answer, Need, Op, Tip};
use worker::Delay;

use super::Actor;
use crate::isolate::now_ms;
use crate::upstream::NoAnswer;

/// The pause of a watch after news. It doubles with each failure in a row.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// A long-poll without news that ends sooner has not waited.
const MIN_LONG_POLL_MS: u64 = 1_000;

impl Actor {
    /// Watches the log of a store that has direct writers, for as long as it has sockets. Otherwise their readers would
    /// learn of a direct writer's event only by their next catch-up.
    pub(in crate::sequencer) fn watch(self: &Rc<Self>) {
        let is_shared = self.log.built_in().is_none() && self.rows.borrow().has_direct_writer();
        let is_due = is_shared && self.sockets.len() > 0;
        if is_due && !self.is_watching.replace(true) {
            self.state.wait_until(self.clone().watch_loop());
        }
    }

    async fn watch_loop(self: Rc<Self>) {
        let mut failures = 0;
        while self.sockets.len() > 0 && !self.abandoned.get() {
            let tip = self.core.borrow().tip().filter(|tip| !tip.closed).cloned();
            let Some(Tip { offset: tail, .. }) = tip else { break };
            let began_ms = now_ms();
            let is_well = match self.log.wait_for_append(&tail).await {
                Ok(seen) if seen > tail => {
                    let looked = self.clone().call(Op::Look(Need::Reaching(seen))).await;
                    matches!(looked, Ok(Answer::Tip(_)))
                }
                // The answer of a closed stream does not wait (protocol §5.7).
                Ok(_) => now_ms() - began_ms >= MIN_LONG_POLL_MS,
                Err(NoAnswer) => false,
            };
            failures = if is_well { 0 } else { (failures + 1).min(8) };
            // Also bounds how often a Sequencer that appends much looks at its own appends.
            Delay::from(WATCH_PAUSE * (1 << failures)).await;
        }
        self.is_watching.set(false);
    }
}
