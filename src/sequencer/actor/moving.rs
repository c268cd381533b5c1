//! Moves a store's log between the upstream and the Sequencer's own storage, and restores one from a file.
//!
//! A move copies the log in parts, one call after the other, while pushes go on. Only for the last part it refuses
//! every change, as unavailable. Then the store goes on at the other place, by one transaction. Until then nothing of
//! the store has changed. Therefore a crash at any moment leaves the store whole at one place, and the next call goes
//! on or begins again.

mod copying;
mod restoring;
mod to_built_in;
mod to_upstream;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use headwater_core::event::{BackendId, Offset, SeqNum};
use headwater_core::log::LogPlace;
use headwater_core::sequencer::call::{Incarnation, MoveAnswer, Progress};
use headwater_core::sequencer::copy::LogCopy;
use headwater_core::sequencer::{Answer, Need, Op, Tip, UpstreamResult};
use headwater_core::socket::Bye;
use worker::Result;

use self::copying::{LogInCopy, Step, Stopped, Target, answered, breathe, refused};
use super::{Actor, interrupted};
use crate::isolate::{as_ms, now_ms};
use crate::log::BuiltInLog;
use crate::upstream::Stream;

/// How long one call copies.
const STEP: Duration = Duration::from_secs(4);

/// How long a hold lasts if nobody ends it: after a call of a restore, until the next one.
const HOLD: Duration = Duration::from_secs(30);

/// The moves and restores of a store.
#[derive(Default)]
pub(super) struct Mover {
    is_busy: Cell<bool>,
    copy: RefCell<Option<LogInCopy>>,
    /// How often rows of copies were deleted: a copy from before is not whole.
    rows_deleted: Cell<u32>,
    /// Until then the store refuses every change, in milliseconds since 1970.
    holds_until_ms: Cell<u64>,
}

impl Mover {
    /// Whether the store refuses every change now, so that its end stays where it is.
    pub(super) fn holds(&self) -> bool {
        now_ms() < self.holds_until_ms.get()
    }

    fn begun(&self, log: LogCopy, to: Target, source: Option<Incarnation>) -> LogInCopy {
        LogInCopy { log, to, source, rows_deleted: self.rows_deleted.get() }
    }

    fn has_rows_of(&self, copy: &LogInCopy) -> bool {
        copy.rows_deleted == self.rows_deleted.get()
    }

    /// The copy of the log that ends at this tip, if an earlier call has begun one. A restore keeps its own.
    fn take_copy_of(&self, tip: &Tip) -> Option<LogInCopy> {
        let source = Some(Incarnation::of(tip));
        self.copy.take().filter(|copy| copy.source == source && self.has_rows_of(copy))
    }

    fn is_restoring(&self) -> bool {
        self.copy.borrow().as_ref().is_some_and(|copy| copy.source.is_none())
    }

    fn hold(&self) {
        self.holds_until_ms.set(now_ms() + as_ms(HOLD));
    }

    fn release(&self) {
        self.holds_until_ms.set(0);
    }
}

impl Actor {
    /// Copies a part of the log to `place`. The store goes on there once all is copied.
    pub(in crate::sequencer) async fn move_to(
        self: Rc<Self>,
        place: LogPlace,
    ) -> Result<MoveAnswer> {
        let actor = self.clone();
        self.step(async move {
            let step = match place {
                LogPlace::Upstream => actor.move_to_upstream().await,
                LogPlace::BuiltIn => actor.move_to_built_in().await,
            };
            // Only the last call holds the store.
            if !actor.mover.is_restoring() {
                actor.mover.release();
            }
            step
        })
        .await
    }

    /// Takes one step of a move or a restore. The step belongs to the object: its caller may leave at any time.
    async fn step(
        self: Rc<Self>,
        step: impl Future<Output = Step<MoveAnswer>> + 'static,
    ) -> Result<MoveAnswer> {
        if self.mover.is_busy.replace(true) {
            return Ok(MoveAnswer::Busy);
        }
        let (to_caller, answer) = oneshot::channel();
        let actor = self.clone();
        self.state.wait_until(async move {
            let step = step.await;
            actor.mover.is_busy.set(false);
            let _ = to_caller.send(answered(step));
        });
        interrupted(answer.await)?
    }

    /// The tip that the log has now.
    async fn fresh_tip(self: &Rc<Self>) -> Step<Tip> {
        match self.clone().call(Op::Look(Need::Fresh)).await? {
            Answer::Tip(Some(tip)) => Ok(tip),
            answer => Err(MoveAnswer::Refused(Box::new(answer)).into()),
        }
    }

    /// Stops a step if its actor has ended in the meantime, because another actor then owns the storage.
    fn goes_on(&self) -> Step<()> {
        if self.is_abandoned() { Err(refused(UpstreamResult::Failed)) } else { Ok(()) }
    }

    /// The store's stream at the upstream; `None` if the deployment has no upstream.
    fn upstream(&self) -> Option<Stream> {
        let base = self.upstream.url.as_ref()?.of(self.shard.as_ref()?.number());
        Some(Stream::new(self.upstream.clone(), &base, &self.path))
    }

    /// Records that nothing of a built-in log is left at the upstream.
    fn leaves_nothing(&self, log: &BuiltInLog) -> Step<()> {
        self.mover.copy.take();
        let left = log.leaves_nothing().and_then(|()| match &self.shard {
            Some(shard) => shard.leave().map(drop),
            None => Ok(()),
        });
        left.map_err(|error| self.storage_failed(error))
    }

    fn built_in_log(&self) -> Result<BuiltInLog> {
        BuiltInLog::open(self.state.storage(), self.upstream.max_log_bytes, self.bucket.clone())
    }

    /// A built-in log without rows.
    async fn empty_log(&self) -> Step<BuiltInLog> {
        while !self.delete_rows()? {
            breathe().await;
            self.goes_on()?;
        }
        Ok(self.built_in_log()?)
    }

    /// Deletes some of the rows that belong to no log. Returns whether none is left.
    fn delete_rows(&self) -> Result<bool> {
        self.mover.rows_deleted.update(|times| times + 1);
        self.built_in_log()?.tidy()
    }

    /// Whether a log at the upstream is this store's.
    fn is_ours(&self, log: &BuiltInLog, header: Option<&BackendId>) -> bool {
        match header {
            Some(id) => log.backend_id().as_ref() == Some(id),
            None => log.backend_id() == Some(BackendId::implicit(&self.path)),
        }
    }

    /// Deletes what moves have left of this log at its other place. Otherwise the log could come back after its
    /// deletion, or would not be deleted as promised. Returns why that failed.
    pub(super) async fn delete_leftovers(&self) -> std::result::Result<(), UpstreamResult> {
        let failed = |_| UpstreamResult::Failed;
        let Some(log) = self.log.built_in() else {
            while !self.delete_rows().map_err(failed)? {
                breathe().await;
                if self.is_abandoned() {
                    return Err(UpstreamResult::Failed);
                }
            }
            return Ok(());
        };
        let (Some(_), Some(upstream)) = (log.leftover(), self.upstream()) else { return Ok(()) };
        self.delete_at_upstream(&upstream, log, None).await.map(drop)
    }

    /// Deletes what the upstream has of a built-in log. Keeps it, and returns false, if it does not end where it
    /// should. Looks twice, because somebody else may answer for the server once.
    async fn delete_at_upstream(
        &self,
        upstream: &Stream,
        log: &BuiltInLog,
        end: Option<&Offset>,
    ) -> std::result::Result<bool, UpstreamResult> {
        for _ in 0..2 {
            match upstream.check().await {
                UpstreamResult::Checked(header, tail) if self.is_ours(log, header.as_ref()) => {
                    if end.is_some_and(|end| *end != tail.offset) {
                        return Ok(false);
                    }
                    match upstream.delete().await {
                        UpstreamResult::Deleted | UpstreamResult::Missing => {}
                        result => return Err(result),
                    }
                }
                // It is gone, or is another log.
                UpstreamResult::Checked(..)
                | UpstreamResult::Unreadable
                | UpstreamResult::Missing
                | UpstreamResult::Gone => {}
                result => return Err(result),
            }
        }
        Ok(true)
    }

    /// Replaces the index by that of the copy, and then the log by `switch`, in one transaction. It ends this actor:
    /// the next call opens one that finds the log at its new place.
    fn take_index(
        &self,
        copy: LogCopy,
        rows_deleted: u32,
        switch: impl FnOnce() -> Result<()>,
    ) -> Step<()> {
        self.goes_on()?;
        if rows_deleted != self.mover.rows_deleted.get() {
            return Err(refused(UpstreamResult::Failed));
        }
        let replace = || {
            let mut rows = self.rows.borrow_mut();
            rows.forget()?;
            for tip in copy.into_index() {
                rows.record(tip)?;
            }
            rows.flush()?;
            switch()
        };
        replace().map_err(|error| self.storage_failed(error))?;
        self.end(Bye::Restarted, "The store's log has moved. Connect again.");
        self.sweep_bucket();
        Ok(())
    }

    fn storage_failed(&self, error: worker::Error) -> Stopped {
        self.abandon(&error);
        error.into()
    }
}

/// The answer to a move of a log that is there already. `done`: whether nothing of it is left at the other place.
fn arrived(place: LogPlace, head: SeqNum, done: bool) -> MoveAnswer {
    MoveAnswer::Progress(Progress { place, copied: head, head, done })
}
