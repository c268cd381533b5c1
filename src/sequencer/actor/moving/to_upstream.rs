//! Moves a built-in log to the upstream.

use std::rc::Rc;

use headwater_core::event::{Offset, ROOT};
use headwater_core::log::{LogPlace, LogScanner};
use headwater_core::sequencer::call::{Incarnation, MoveAnswer, Progress};
use headwater_core::sequencer::copy::LogCopy;
use headwater_core::sequencer::{Tip, UpstreamResult};
use worker::Error;

use super::super::Actor;
use super::copying::{
    LogInCopy, PART_BYTES, Part, Step, Stopped, Target, breathe, refused, summary,
};
use super::{STEP, arrived};
use crate::isolate::{as_ms, now_ms};
use crate::log::{BuiltInLog, random_uuid};
use crate::upstream::{ProducerEpochs, Stream};

/// How many short parts the move copies while pushes go on, before it refuses them for the last one.
const CHASES: usize = 3;

impl Actor {
    pub(super) async fn move_to_upstream(self: &Rc<Self>) -> Step<MoveAnswer> {
        let Some(log) = self.log.built_in().cloned() else {
            let head = self.fresh_tip().await?.head;
            // The rows that the move has left.
            let is_over = self.delete_rows()?;
            return Ok(arrived(LogPlace::Upstream, head, is_over));
        };
        let upstream = self.upstream().ok_or(MoveAnswer::NoUpstream)?;
        let tip = self.fresh_tip().await?;
        let found = self.mover.take_copy_of(&tip);
        let found = found.filter(|copy| matches!(copy.to, Target::Upstream { .. }));
        let mut copy = match found {
            Some(copy) => copy,
            None => self.copy_at(&upstream, &log, &tip).await?,
        };
        let Target::Upstream { from, epochs, appends } = &mut copy.to else {
            return Err(Error::from("a copy at another place").into());
        };
        let until_ms = now_ms() + as_ms(STEP);
        let mut chases = 0;
        loop {
            self.goes_on()?;
            // A reset may have begun another log.
            let end = log.end().filter(|_| log.backend_id().as_ref() == Some(&tip.backend_id));
            let Some(end) = end else { return Err(refused(UpstreamResult::Failed)) };
            if *from == end.at {
                let is_archived = end.closed && !copy.log.tip().closed;
                if !is_archived && self.has_no_change_under_way() {
                    break;
                }
                // A reset may have begun, which no longer asks where the log is.
                if !is_archived {
                    self.mover.hold();
                    breathe().await;
                    continue;
                }
                if upstream.close().await != UpstreamResult::Closed {
                    return Err(refused(UpstreamResult::Failed));
                }
                copy.log.close();
                continue;
            }
            if now_ms() >= until_ms && !self.mover.holds() {
                let copied = copy.log.tip().head;
                self.mover.copy.replace(Some(copy));
                let place = LogPlace::BuiltIn;
                let progress = Progress { place, copied, head: tip.head, done: false };
                return Ok(MoveAnswer::Progress(progress));
            }
            if end.at - *from <= PART_BYTES as u64 {
                chases += 1;
                if chases > CHASES {
                    self.mover.hold();
                }
            }
            let part = match Part::read(&log, *from, end).await {
                Ok(part) => part,
                Err(error) => {
                    // Nothing was sent. The next call goes on.
                    self.mover.copy.replace(Some(copy));
                    return Err(error.into());
                }
            };
            if !part.range.continues(copy.log.tip().head) {
                return Err(Error::from("the log is not a chain").into());
            }
            // The fence must refuse what an append of the log's earlier life at the upstream could bring, down to its
            // last event.
            match upstream.append(part.last_parent, epochs, *appends, &part.batch).await {
                UpstreamResult::Appended(end) => {
                    let is_first = *appends == 0;
                    if is_first && !is_alone(&upstream, &copy.log.tip().offset, &part).await {
                        return Err(refused(UpstreamResult::Failed));
                    }
                    copy.log.add(&part.range, end).map_err(|_| Error::from("no chain"))?;
                    (*from, *appends) = (part.end, *appends + 1);
                }
                result => return Err(refused(result)),
            }
        }
        let head = copy.log.tip().head;
        self.take_index(copy.log, copy.rows_deleted, || log.leave())?;
        let place = LogPlace::Upstream;
        Ok(MoveAnswer::Progress(Progress { place, copied: head, head, done: false }))
    }

    /// A copy at the upstream: a new one, or what an earlier call has left there.
    async fn copy_at(&self, upstream: &Stream, log: &BuiltInLog, tip: &Tip) -> Step<LogInCopy> {
        // First, so that a deletion of the store deletes the copy as well.
        let is_new = log.leftover().is_none();
        if is_new {
            let begun = self.shard.as_ref().map_or(Ok(()), |shard| shard.begin());
            begun.and_then(|()| log.leaves(None)).map_err(|error| self.storage_failed(error))?;
        }
        if let Some(copy) = self.new_copy(upstream, tip).await? {
            return Ok(copy);
        }
        let found = self.found_copy(upstream, log, tip).await;
        let is_anothers = matches!(found, Err(Stopped::Early(MoveAnswer::Taken(_))));
        match &found {
            Err(_) if is_anothers && is_new => self.leaves_nothing(log)?,
            // It is the beginning of this log, whatever it was before.
            Ok(_) => log.leaves(None).map_err(|error| self.storage_failed(error))?,
            Err(_) => {}
        }
        match found? {
            Some(copy) => Ok(copy),
            None => {
                self.new_copy(upstream, tip).await?.ok_or_else(|| refused(UpstreamResult::Failed))
            }
        }
    }

    /// The copy that an earlier call has left at the upstream. `None` if it can't grow, and was deleted.
    async fn found_copy(
        &self,
        upstream: &Stream,
        log: &BuiltInLog,
        tip: &Tip,
    ) -> Step<Option<LogInCopy>> {
        let id = &tip.backend_id;
        let (range, end) = match upstream.scan(None, LogScanner::from_start()).await {
            UpstreamResult::Read(range, end) => (range, end),
            UpstreamResult::Unreadable => return Err(MoveAnswer::Taken(None).into()),
            result => return Err(refused(result)),
        };
        let taken = || MoveAnswer::Taken(range.header.clone());
        if !self.is_ours(log, range.header.as_ref()) || range.broken.is_some() {
            return Err(taken().into());
        }
        // The copy must be the beginning of this log.
        let ours = summary(log, BuiltInLog::place_after_header(id), range.events).await?;
        self.goes_on()?;
        if (ours.events, ours.fingerprint) != (range.events, range.fingerprint) {
            return Err(taken().into());
        }
        let head = range.link.map_or(ROOT, |(_, last)| last);
        let place = self.rows.borrow_mut().end_of(head);
        let place = place.map_err(|error| self.storage_failed(error))?;
        let place = place.and_then(|end| BuiltInLog::place_of(&end));
        let now = log.end().ok_or_else(|| refused(UpstreamResult::Missing))?;
        // Parts of the log end where appends do. A closed copy can't grow.
        if let Some(from) = place
            && (!end.closed || (now.closed && now.at == from))
        {
            let copy = LogCopy::found(id.clone(), &range, end, &random_uuid(), self.limits.segment);
            return Ok(Some(self.at_upstream(copy, from, tip)));
        }
        match upstream.delete().await {
            UpstreamResult::Deleted => Ok(None),
            result => Err(refused(result)),
        }
    }

    /// A new copy at the upstream. `None` if there is a stream already.
    async fn new_copy(&self, upstream: &Stream, tip: &Tip) -> Step<Option<LogInCopy>> {
        match upstream.create(tip.backend_id.clone()).await {
            UpstreamResult::Created(id, end) => {
                let from = BuiltInLog::place_after_header(&id);
                let copy = LogCopy::begun(id, end, &random_uuid(), self.limits.segment);
                Ok(Some(self.at_upstream(copy, from, tip)))
            }
            UpstreamResult::Exists => Ok(None),
            result => Err(refused(result)),
        }
    }

    fn at_upstream(&self, log: LogCopy, from: u64, tip: &Tip) -> LogInCopy {
        let epochs = ProducerEpochs::default();
        let to = Target::Upstream { from, epochs, appends: 0 };
        self.mover.begun(log, to, Some(Incarnation::of(tip)))
    }
}

/// Whether the first part is all that the upstream has behind an offset. A part of an earlier call may have arrived
/// just before it. Later ones can't: the server knows a newer epoch then (protocol §5.2.1).
async fn is_alone(upstream: &Stream, before: &Offset, part: &Part) -> bool {
    match upstream.scan(Some(before.clone()), LogScanner::default()).await {
        UpstreamResult::Read(range, _) => {
            (range.events, range.fingerprint) == (part.range.events, part.range.fingerprint)
        }
        _ => false,
    }
}
