//! Moves a log from the upstream into the Sequencer's storage.

use std::ops::ControlFlow;
use std::rc::Rc;

use headwater_core::event::{Offset, Position};
use headwater_core::log::LogPlace;
use headwater_core::sequencer::call::{Incarnation, MoveAnswer, Progress};
use headwater_core::sequencer::copy::LogCopy;
use worker::Error;

use super::super::Actor;
use super::copying::{LogInCopy, Step, Target, Writer, refused};
use super::{STEP, arrived};
use crate::isolate::{as_ms, now_ms};
use crate::log::{Log, random_uuid};

/// How often the move looks whether it has all, while it refuses every change. Writers in direct mode go on meanwhile.
const LAST_LOOKS: usize = 5;

impl Actor {
    pub(super) async fn move_to_built_in(self: &Rc<Self>) -> Step<MoveAnswer> {
        let Log::Upstream(upstream, ..) = &self.log else {
            let head = self.fresh_tip().await?.head;
            self.delete_source().await?;
            return Ok(arrived(LogPlace::BuiltIn, head, true));
        };
        let tip = self.fresh_tip().await?;
        let found = self.mover.take_copy_of(&tip);
        let found = found.filter(|copy| matches!(copy.to, Target::BuiltIn { .. }));
        let copy = if let Some(copy) = found {
            copy
        } else {
            let log = self.empty_log().await?;
            let end = log.begin_copy(&tip.backend_id)?;
            let id = tip.backend_id.clone();
            let copy = LogCopy::begun(id, end, &random_uuid(), self.limits.segment);
            let to = Target::BuiltIn { log, page: Offset(Offset::START.into()) };
            self.mover.begun(copy, to, Some(Incarnation::of(&tip)))
        };
        let mut writer = Writer::new(copy);
        let until_ms = now_ms() + as_ms(STEP);
        for look in 0..=LAST_LOOKS {
            let is_held = look > 0;
            let from = self.place_to_read_from(&writer.copy)?;
            let mut failure = None;
            let mut sink = |message: &[u8]| {
                if let Err(error) = writer.take(message) {
                    failure.get_or_insert(error);
                }
                // Each call copies something.
                let is_late = !is_held && writer.has_written && now_ms() >= until_ms;
                if failure.is_some() || is_late {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let read = upstream.read_messages(&from, &mut sink).await;
            self.goes_on()?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            writer.flush()?;
            let end = match read {
                Ok(reading) => {
                    if let Target::BuiltIn { page, .. } = &mut writer.copy.to {
                        *page = reading.page;
                    }
                    reading.end
                }
                Err(result) => {
                    self.mover.copy.replace(Some(writer.copy));
                    return Err(refused(result));
                }
            };
            let Some(end) = end else { break };
            if is_held {
                let now = self.fresh_tip().await?;
                let copied = writer.copy.log.tip();
                let is_whole = (&now.offset, now.closed, now.head)
                    == (&end.offset, end.closed, copied.head)
                    && writer.copy.source == Some(Incarnation::of(&now));
                if is_whole && self.has_no_change_under_way() {
                    return self.go_on_built_in(writer.copy, &end.offset, end.closed);
                }
            }
            // Once nothing is under way and the store refuses every change, its end stays where it is.
            self.mover.hold();
        }
        let copied = writer.copy.log.tip().head;
        self.mover.copy.replace(Some(writer.copy));
        let place = LogPlace::Upstream;
        Ok(MoveAnswer::Progress(Progress { place, copied, head: tip.head, done: false }))
    }

    /// An offset at or before the first event that the copy does not have.
    fn place_to_read_from(&self, copy: &LogInCopy) -> Step<Offset> {
        let found = self.rows.borrow_mut().locate(&Position::After(copy.log.tip().head));
        let found = found.map_err(|error| self.storage_failed(error))?;
        let Target::BuiltIn { page, .. } = &copy.to else {
            return Err(Error::from("no copy").into());
        };
        Ok(found.map(|(plan, _)| plan.from).filter(|from| from > page).unwrap_or(page.clone()))
    }

    fn go_on_built_in(&self, copy: LogInCopy, source: &Offset, closed: bool) -> Step<MoveAnswer> {
        let head = copy.log.tip().head;
        let backend_id = copy.log.tip().backend_id.clone();
        let Target::BuiltIn { log, .. } = copy.to else {
            return Err(Error::from("a copy at another place").into());
        };
        self.take_index(copy.log, copy.rows_deleted, || {
            log.leaves(Some(source))?;
            log.begin_stream(&backend_id, closed)
        })?;
        let place = LogPlace::BuiltIn;
        Ok(MoveAnswer::Progress(Progress { place, copied: head, head, done: false }))
    }

    /// Deletes the log at the upstream that this one was moved from, unless somebody has appended to it since.
    async fn delete_source(&self) -> Step<()> {
        let Some(log) = self.log.built_in() else { return Ok(()) };
        let (Some(leftover), Some(upstream)) = (log.leftover(), self.upstream()) else {
            return Ok(());
        };
        let deleted = self.delete_at_upstream(&upstream, log, leftover.end.as_ref()).await;
        if !deleted.map_err(refused)? {
            return Err(MoveAnswer::WentOn.into());
        }
        self.goes_on()?;
        self.leaves_nothing(log)
    }
}
