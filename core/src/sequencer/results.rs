//! What each result of an upstream request changes in the Sequencer's state.

use super::copy::renewed;
use super::tip_state::TipState;
use super::{
    Answer, Core, Effect, Halt, Job, MAX_HALTS, News, Op, Refusal, Request, Tail, Tip,
    UpstreamResult,
};
use crate::event::{BackendId, Offset, ROOT};
use crate::log::LogRange;

impl Core {
    /// Applies the result of the request that was open.
    pub(super) fn handle_result(
        &mut self,
        request: Request,
        result: UpstreamResult,
        effects: &mut Vec<Effect>,
    ) {
        let has_landed =
            matches!((&request, &result), (Request::Append { .. }, UpstreamResult::Appended(_)));
        self.producer_seq = if has_landed { self.producer_seq + 1 } else { 0 };
        let is_certain = matches!(result, UpstreamResult::Appended(_) | UpstreamResult::Conflict);
        if matches!(request, Request::Append { .. }) && !is_certain {
            self.sent_nothing_beyond = false;
        }
        match (request, result) {
            (Request::Append { .. }, UpstreamResult::Appended(offset)) => {
                self.on_appended(offset, effects);
            }
            (Request::Append { .. }, UpstreamResult::Conflict) => self.on_conflict(effects),
            (Request::Check, UpstreamResult::Checked(header, tail)) => {
                self.on_checked(header, tail, effects);
            }
            (Request::ReadOn { .. }, UpstreamResult::Read(range, end)) => {
                self.on_read_on(range, end, effects);
            }
            // In another log, our offset may lie inside a message, or be no offset at all.
            (
                Request::ReadOn { .. },
                UpstreamResult::Unreadable
                | UpstreamResult::Gone
                | UpstreamResult::Refused(Refusal { status: 400, .. }),
            ) => self.contradict(),
            (Request::ReadAll { .. }, UpstreamResult::Read(range, end)) => {
                self.on_read_all(range, end, effects);
            }
            (Request::Check | Request::ReadAll { .. }, UpstreamResult::Unreadable) => {
                self.halt(Halt::Broken("the stream is not JSON".into()));
            }
            (Request::Check | Request::ReadAll { .. }, UpstreamResult::Gone) => {
                self.halt(Halt::Trimmed);
            }
            (
                Request::Check | Request::ReadAll { .. } | Request::ReadOn { .. },
                UpstreamResult::Missing,
            ) => self.on_missing(effects),
            (Request::Create, UpstreamResult::Created(backend_id, offset)) => {
                self.on_created(backend_id, offset, effects);
            }
            (Request::Create, UpstreamResult::Exists) => self.on_exists(effects),
            (
                Request::Delete,
                UpstreamResult::Deleted | UpstreamResult::Missing | UpstreamResult::Gone,
            ) => self.on_deleted(),
            (Request::Create, UpstreamResult::Missing) => self
                .answer_all(&Answer::Refused(Refusal { status: 404, retry_after: None }), effects),
            // The next read tells whether another writer appended before.
            (Request::Close, UpstreamResult::Closed) => self.update_tip_state(TipState::unverified),
            (
                Request::Append { .. } | Request::Close | Request::Delete,
                UpstreamResult::Refused(refusal),
            ) => {
                self.cancel_deletion(effects);
                self.looks.iter_mut().for_each(|look| look.prepared = false);
                self.answer(Answer::Refused(refusal), effects);
            }
            (_, UpstreamResult::Refused(refusal)) => {
                self.answer_all(&Answer::Refused(refusal), effects);
            }
            _ => self.on_failed(effects),
        }
    }

    /// The upstream refused the deletion. If the stream is missing later, this Sequencer did not delete it.
    fn cancel_deletion(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.deleting)
            && let Some(tip) = self.tip()
        {
            effects.push(Effect::Record(tip.clone()));
        }
    }

    fn on_appended(&mut self, offset: Offset, effects: &mut Vec<Effect>) {
        let (TipState::Verified(tip), Some(Job { ticket, op: Op::Push { batch, .. }, .. })) =
            (&self.tip_state, self.jobs.front())
        else {
            unreachable!("only the push at the front appends, and only to a verified tip")
        };
        if offset <= tip.offset {
            // The log was shorter than the tip: the batch landed in the wrong place.
            return self.contradict();
        }
        let (parent, from) = (batch.parent, tip.offset.clone());
        let tip = tip.after_append(batch, offset).sealing(self.limits.segment);
        let ticket = *ticket;
        // The row delays no answer: the log says the same.
        self.answer(Answer::Accepted(tip.clone()), effects);
        effects.push(Effect::Publish(News::Appended { ticket, parent, from, tip: tip.clone() }));
        self.record_tip(tip, effects);
    }

    /// The fence refused the append: another writer has appended, or an earlier try of this append has landed.
    fn on_conflict(&mut self, effects: &mut Vec<Effect>) {
        if let Some(job) = self.jobs.front_mut()
            && std::mem::replace(&mut job.refused, true)
        {
            // The Sequencer has read the log, and no event explains the refusal. The upstream may not show an append
            // yet, or this may be another log.
            self.update_tip_state(TipState::unverified);
            return self.answer(Answer::Unavailable, effects);
        }
        self.update_tip_state(TipState::behind);
    }

    fn on_checked(&mut self, header: Option<BackendId>, tail: Tail, effects: &mut Vec<Effect>) {
        let backend_id = header.unwrap_or_else(|| self.implicit_id.clone());
        let Some(tip) = self.tip().cloned() else {
            return self.update_tip_state(|tip_state| TipState::Unknown(tip_state.into_tip()));
        };
        if tip.backend_id != backend_id && !self.may_replace(&tip, true) {
            return self.halt(Halt::Replaced(backend_id));
        }
        let is_ours =
            tip.backend_id == backend_id && matches!(self.tip_state, TipState::Unverified(_));
        if !is_ours || tail.offset < tip.offset {
            return self.tip_state = TipState::Unknown(Some(tip));
        }
        let is_behind = tail.offset > tip.offset;
        let before = (self.sent_nothing_beyond, self.last_halt.clone());
        self.set_tip(Tip { closed: tail.closed, ..tip }, effects);
        if is_behind {
            self.update_tip_state(TipState::behind);
            // Only the read that follows finds out whether the log goes on from the tip.
            (self.sent_nothing_beyond, self.last_halt) = before;
        }
    }

    /// Whether a log with another id may replace the `old` one. `holds_tip`: the log holds the append that made the
    /// old head, or no read has looked for it yet.
    fn may_replace(&self, old: &Tip, holds_tip: bool) -> bool {
        let adopts = matches!(self.jobs.front(), Some(Job { op: Op::Adopt, .. }));
        // The header may have been on its way when the log seemed to have none.
        let had_no_header = old.backend_id == self.implicit_id && (old.head == ROOT || holds_tip);
        self.deleting || adopts || had_no_header
    }

    /// The read may begin with the append that made the tip. The rest follows the tip.
    fn on_read_on(&mut self, range: LogRange, end: Tail, effects: &mut Vec<Effect>) {
        let (tip, is_confirmed) = match &self.tip_state {
            TipState::Unverified(tip) => (tip, range.known_found),
            // The tail or the fence said that the log has moved on. The fence may have other reasons: then
            // `on_conflict` ends the push.
            TipState::Behind(tip) => {
                (tip, range.link.is_some() || self.jobs.front().is_some_and(|job| job.refused))
            }
            _ => unreachable!("a read goes on only from a tip"),
        };
        if !is_confirmed || !range.continues(tip.head) || end.offset < tip.offset {
            return self.contradict();
        }
        // The push at the front may have landed late.
        if self.sent_nothing_beyond && range.link.is_some() && !range.probe_found {
            effects.push(Effect::MetDirectWriter);
        }
        let next = tip.after_range(&range, end).sealing(self.limits.segment);
        self.set_tip(next.clone(), effects);
        self.answer_if_found(range.probe_found, next, effects);
    }

    /// Accepts the push at the front if the read found its batch, and the client means this log.
    fn answer_if_found(&mut self, is_found: bool, tip: Tip, effects: &mut Vec<Effect>) {
        if let Some(Job { op: Op::Push { backend_id, .. }, .. }) = self.jobs.front()
            && is_found
            && backend_id.as_ref().is_none_or(|id| *id == tip.backend_id)
        {
            self.answer(Answer::Accepted(tip), effects);
        }
    }

    fn on_read_all(&mut self, range: LogRange, end: Tail, effects: &mut Vec<Effect>) {
        if range.bytes == 0 && self.spent.failures + 1 < self.limits.empty_looks {
            // Another client may be creating the stream now.
            self.spent.failures += 1;
            return;
        }
        if let Some(broken) = &range.broken {
            return self.halt(Halt::Broken(broken.to_string()));
        }
        let head = range.link.map_or(ROOT, |(_, last)| last);
        let backend_id = range.header.clone().unwrap_or_else(|| self.implicit_id.clone());
        let mut index = end.offset.clone();
        if let Some(old) = self.tip().cloned() {
            let acknowledged = old.head;
            if old.backend_id != backend_id && !self.may_replace(&old, range.known_found) {
                return self.halt(Halt::Replaced(backend_id));
            }
            if old.backend_id == backend_id {
                if head < acknowledged {
                    return self.halt(Halt::WentBackwards { acknowledged, found: head });
                }
                if old.made_by.is_some() && !range.known_found {
                    return self.halt(Halt::Altered(acknowledged));
                }
                if head == acknowledged && end.offset == old.offset {
                    return self.set_tip(Tip { closed: end.closed, ..old }, effects);
                }
                index = renewed(&index, &old.sealed.index);
            }
            // The rows describe another incarnation, or offsets that the log may no longer know.
            effects.push(Effect::Forget);
        }
        let mut tip = Tip::of_whole_log(backend_id, &range, end).sealing(self.limits.segment);
        tip.sealed.index = index;
        self.publish_change(&tip, effects);
        self.record_tip(tip.clone(), effects);
        self.answer_if_found(range.probe_found, tip, effects);
    }

    fn on_created(&mut self, backend_id: BackendId, offset: Offset, effects: &mut Vec<Effect>) {
        if let TipState::NoStream(Some(_)) = self.tip_state {
            effects.push(Effect::Forget);
        }
        // A job in front created the stream for itself.
        if self.jobs.is_empty()
            && let Some(look) = self.looks.iter_mut().find(|look| look.creates)
        {
            look.created = true;
        }
        let tip = Tip::of_empty_log(backend_id, offset);
        self.publish_change(&tip, effects);
        self.record_tip(tip, effects);
    }

    fn on_exists(&mut self, effects: &mut Vec<Effect>) {
        if let Some(Job { op: Op::Reset, prepared, .. }) = self.jobs.front_mut() {
            // The stream still exists: the answer to the `DELETE` was wrong.
            *prepared = false;
            self.look_again();
            return self.on_failed(effects);
        }
        self.spent.exists = true;
        self.update_tip_state(|tip_state| TipState::Unknown(tip_state.into_tip()));
    }

    /// A stranger may have answered. A reset finds that out when it creates the new stream, and a deletion for good by
    /// a look.
    fn on_deleted(&mut self) {
        match self.jobs.front_mut() {
            Some(Job { op: Op::Reset, prepared, .. }) => *prepared = true,
            _ => return self.look_again(),
        }
        self.update_tip_state(|tip_state| TipState::NoStream(tip_state.into_tip()));
    }

    fn look_again(&mut self) {
        self.update_tip_state(|tip_state| {
            tip_state.into_tip().map_or(TipState::Unknown(None), TipState::Unverified)
        });
    }

    /// The stream was deleted for good.
    pub(super) fn forget(&mut self, effects: &mut Vec<Effect>) {
        (self.tip_state, self.last_halt, self.deleting) = (TipState::NoStream(None), None, false);
        effects.extend([Effect::Forget, Effect::Publish(News::Deleted)]);
    }

    /// A missing stream is a reset only if this Sequencer set out to delete it. Otherwise it is a loss, which the
    /// Sequencer believes after several tries: a foreign answer may say the same.
    fn on_missing(&mut self, effects: &mut Vec<Effect>) {
        if self.spent.exists {
            return self.on_failed(effects);
        }
        match self.tip().filter(|_| !self.deleting) {
            None => self.update_tip_state(|tip_state| TipState::NoStream(tip_state.into_tip())),
            Some(tip) if self.halts() > 0 || self.spent.failures + 1 >= self.limits.attempts => {
                self.halt(Halt::Missing(tip.head));
            }
            Some(_) => self.spent.failures += 1,
        }
    }

    /// The log does not fit the tip. The next request asks whose log it is.
    #[inline(never)]
    fn contradict(&mut self) {
        self.update_tip_state(|tip_state| match tip_state {
            TipState::Unverified(tip) | TipState::Behind(tip) | TipState::Verified(tip) => {
                TipState::Contradicted(tip)
            }
            other => other,
        });
    }

    #[inline(never)]
    fn halt(&mut self, halt: Halt) {
        self.last_halt = Some((halt.clone(), (self.halts() + 1).min(MAX_HALTS)));
        self.update_tip_state(|tip_state| TipState::Halted(halt, tip_state.into_tip()));
    }

    /// The outcome is unknown: the tip must be verified again. After too many failures in a row, every caller that
    /// waits is answered.
    #[inline(never)]
    fn on_failed(&mut self, effects: &mut Vec<Effect>) {
        self.update_tip_state(TipState::unverified);
        self.spent.failures += 1;
        if self.spent.failures >= self.limits.attempts {
            self.answer_all(&Answer::Unavailable, effects);
        }
    }

    /// Takes a verified tip, and records it if it is not stored yet.
    fn set_tip(&mut self, tip: Tip, effects: &mut Vec<Effect>) {
        if self.tip() == Some(&tip) && !self.deleting {
            (self.tip_state, self.last_halt) = (TipState::Verified(tip), None);
            self.sent_nothing_beyond = true;
        } else {
            self.publish_change(&tip, effects);
            self.record_tip(tip, effects);
        }
    }

    /// Tells live readers that the log is not what it was.
    fn publish_change(&self, tip: &Tip, effects: &mut Vec<Effect>) {
        match self.tip() {
            Some(old) if old.backend_id == tip.backend_id && old.offset == tip.offset => {}
            Some(old) if old.backend_id == tip.backend_id => {
                effects.push(Effect::Publish(News::Moved(tip.clone())));
            }
            _ => effects.push(Effect::Publish(News::Begun(tip.clone()))),
        }
    }

    #[inline(never)]
    fn record_tip(&mut self, tip: Tip, effects: &mut Vec<Effect>) {
        effects.push(Effect::Record(tip.clone()));
        (self.tip_state, self.last_halt, self.deleting) = (TipState::Verified(tip), None, false);
        self.sent_nothing_beyond = true;
    }

    fn update_tip_state(&mut self, update: impl FnOnce(TipState) -> TipState) {
        let tip_state = std::mem::replace(&mut self.tip_state, TipState::Unknown(None));
        self.tip_state = update(tip_state);
    }
}
