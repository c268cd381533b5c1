//! What follows a step of the log: rows of the index are written, and older history takes less room.

use std::rc::Rc;
use std::time::Duration;

use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, State, console_error};

use super::Actor;
use crate::log::{LogBucket, SWEEP_AGAIN};

/// How long rows may lag behind their appends. In this time, one transaction collects them.
const FLUSH_DELAY: Duration = Duration::from_millis(200);

impl Actor {
    /// Merges the built-in log's rows of a segment that is sealed now, and moves them to the bucket.
    pub(super) fn merge_sealed(&self) {
        let core = self.core.borrow();
        let Some(tip) = core.tip().filter(|tip| tip.seals()) else { return };
        let Some(log) = self.log.built_in() else { return };
        if let Err(error) = log.merge(&tip.offset) {
            console_error!("a segment could not be merged: {error}");
        }
        self.shelve();
    }

    /// Moves merged rows to the bucket, if there is one, and deletes what that leaves behind.
    pub(in crate::sequencer) fn shelve(&self) {
        let Some(log) = self.log.built_in().filter(|_| self.bucket.is_bound()) else { return };
        let (log, bucket, state) = (log.clone(), self.bucket.clone(), self.state.clone());
        self.state.wait_until(async move {
            if let Err(error) = log.shelve().await {
                console_error!("older history did not move to the R2 bucket: {error}");
            }
            sweep(&bucket, &state).await;
        });
    }

    /// Deletes what nobody needs in the bucket, now or at an alarm.
    pub(in crate::sequencer) fn sweep_bucket(&self) {
        if self.bucket.has_unneeded() {
            let (bucket, state) = (self.bucket.clone(), self.state.clone());
            self.state.wait_until(async move { sweep(&bucket, &state).await });
        }
    }

    /// Writes the rows a little later, together with those of the appends that come until then.
    pub(super) fn flush_soon(self: &Rc<Self>) {
        if !self.rows.borrow().has_pending() || self.is_flush_due.replace(true) {
            return;
        }
        let actor = self.clone();
        spawn_local(async move {
            Delay::from(FLUSH_DELAY).await;
            actor.is_flush_due.set(false);
            let flushed = actor.rows.borrow_mut().flush();
            if let Err(error) = flushed {
                actor.abandon(&error);
            }
        });
    }
}

/// Deletes the objects that nobody needs. An alarm goes on while some are left, even if nobody asks for the store anymore.
pub(in crate::sequencer) async fn sweep(bucket: &LogBucket, state: &State) {
    let swept = async {
        if !bucket.is_swept()? {
            state.storage().set_alarm(SWEEP_AGAIN).await?;
            bucket.sweep().await?;
        }
        bucket.is_swept()
    };
    match swept.await {
        Ok(true) => drop(state.storage().delete_alarm().await),
        // The alarm deletes an object that may still arrive.
        Ok(false) => {}
        Err(error) => console_error!("deleting unneeded objects of the R2 bucket failed: {error}"),
    }
}
