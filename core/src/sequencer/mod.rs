//! The Sequencer's decisions: a state machine without IO, clock or randomness.
//!
//! The contract with whoever drives it: call [`Core::handle`] with each [`Input`] and carry out the
//! [`Effect`]s in their order, `Record`, `Forget` and `Deleting` durably before what follows them. At
//! most one [`Effect::Request`] is open at any time; its outcome comes back as [`Input::Upstream`],
//! and nothing else need ever be retried or timed by the driver.
//!
//! Invariants:
//! - **Memory never runs ahead of the log**: the head moves when an append is known to have landed.
//! - **Nothing is appended on a guess**: only while the tip is [`TipState::Verified`], and always
//!   with the fence of the batch's parent, so that even a wrong belief can't break the chain.
//! - **An unknown outcome is never retried blindly**: the log is read first.
//! - **Nothing acknowledged is given up unasked**: another incarnation, or none, is taken for the store's only after this
//!   Sequencer set out to delete the stream, or when an administrator adopts it. Otherwise the store halts.
//! - **Work ends, whatever the upstream answers**: each piece of it has a budget of requests.

pub mod call;
mod decide;
mod problems;
mod terms;
mod tip_state;

use std::collections::VecDeque;

use self::decide::{Step, Verdict, is_answered, job_step, look_step, told, verdict};
use self::tip_state::TipState;
use crate::event::{BackendId, Offset, ROOT};
use crate::log::LogRange;
use crate::segments::plan::SegmentSize;
pub use decide::reject_if_stale;
pub use terms::{
    Answer, Before, Effect, Halt, Input, Need, Op, Recorded, Refusal, Request, Sealed, Ticket, Tip,
    UpstreamResult,
};

/// What a call comes to before its batch is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foresight {
    /// This answer.
    Answer(Answer),
    /// This answer, if it is still so after a [fresh](Need::Fresh) look at the log.
    AfterALook(Answer),
    /// Nobody can tell yet.
    Open,
}

/// A call that changes something. They are worked on one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    ticket: Ticket,
    op: Op,
    /// Whether what this job wants done first is done: for a `Reset` the stream deleted, for the others the upstream asked
    /// once more.
    prepared: bool,
    /// Whether the upstream has been asked, for whomever, since it came.
    asked: bool,
    /// Whether the fence has refused this push, and the log has been read since.
    refused: bool,
}

/// A call that wants to know the tip. One request answers all that wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Look {
    ticket: Ticket,
    need: Need,
    /// Whether the stream is to be created if there is none.
    creates: bool,
    /// Whether the upstream has been asked since it came.
    prepared: bool,
    /// Whether it has created the stream.
    created: bool,
}

/// How much may wait, and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequencerLimits {
    /// Calls that change something and may wait.
    pub queue: usize,
    /// Looks that may wait. One request answers them all.
    pub looks: usize,
    /// Bytes of batches that may wait.
    pub queue_bytes: u64,
    /// Requests for one piece of work that may fail before all that wait is answered `Unavailable`.
    pub attempts: u8,
    /// Looks at an empty stream before it is believed to have no header: 5, with the pauses between them,
    /// are 3 s. The Rust server creates a stream before its first message, and shows it so.
    pub empty_looks: u8,
    /// Requests for one piece of work, whatever they are answered: more than any needs, so that only answers that go
    /// round in circles use it up.
    pub requests: u8,
    /// How long segments are.
    pub segment: SegmentSize,
}

impl Default for SequencerLimits {
    fn default() -> Self {
        let segment = SegmentSize { events: 10_000, bytes: 1 << 20 };
        Self {
            queue: 256,
            looks: 4_096,
            queue_bytes: 32 << 20,
            attempts: 3,
            empty_looks: 5,
            requests: 24,
            segment,
        }
    }
}

/// The looks at a halted store, one after the other, after which the pause before the next one grows no more.
const MAX_HALTS: u8 = 5;

/// One store's Sequencer. What it does at many places is not inlined there: the size of the module has a budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    limits: SequencerLimits,
    /// The id of a stream that has no header (docs/http-api.md, "The header").
    implicit_id: BackendId,
    tip_state: TipState,
    /// Whether this Sequencer set out to delete the stream that is stored, and has not seen since what is there.
    deleting: bool,
    /// In the order of arrival; the first is the one being worked on.
    jobs: VecDeque<Job>,
    /// What waits for no job, and holds none up.
    looks: Vec<Look>,
    /// The request that is open.
    open: Option<Request>,
    /// What was spent on what is being worked on.
    spent: Spent,
    /// Looks in a row that found the store halted, up to [`MAX_HALTS`].
    halts: u8,
    /// Appends that landed since the log was last looked at.
    producer_seq: u64,
}

/// What one piece of work has cost, to end it if it does not end by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Spent {
    requests: u8,
    /// Requests that failed.
    failures: u8,
    /// Whether the upstream said that there is a stream already: if there is none after that, it contradicts itself.
    exists: bool,
}

impl Core {
    /// A Sequencer that begins with what was stored. `implicit_id` names a stream without a header.
    pub fn new(stored: Option<Recorded>, implicit_id: BackendId, limits: SequencerLimits) -> Self {
        let deleting = stored.as_ref().is_some_and(|stored| stored.deleting);
        Self {
            limits,
            implicit_id,
            tip_state: stored
                .map_or(TipState::Unknown(None), |stored| TipState::Unverified(stored.tip)),
            deleting,
            jobs: VecDeque::new(),
            looks: Vec::new(),
            open: None,
            spent: Spent::default(),
            halts: 0,
            producer_seq: 0,
        }
    }

    /// Takes one input and says what to do, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Call(ticket, op) => self.called(ticket, op, &mut out),
            Input::Upstream(reply) => {
                let request = self.open.take().expect("a reply without a request");
                self.replied(request, reply, &mut out);
            }
        }
        self.advance(&mut out);
        out
    }

    /// The tip, if one is known.
    pub fn tip(&self) -> Option<&Tip> {
        match &self.tip_state {
            TipState::Unverified(tip)
            | TipState::Contradicted(tip)
            | TipState::Behind(tip)
            | TipState::Verified(tip) => Some(tip),
            TipState::Unknown(tip) | TipState::Halted(_, tip) => tip.as_ref(),
            TipState::NoStream(_) => None,
        }
    }

    /// Why no push is taken, though a look at the store may still be answered with the tip that was known.
    pub fn halted(&self) -> Option<Answer> {
        match &self.tip_state {
            TipState::Halted(halt, tip) => Some(told(halt, tip.as_ref())),
            _ => None,
        }
    }

    /// What a call comes to before its batch is there, so that nobody reads one in vain.
    pub fn foresee(&self, op: &Op) -> Foresight {
        if let Some(answer) = self.answer_at_once(op) {
            return Foresight::Answer(answer);
        }
        if self.is_full_for(op) {
            return Foresight::Answer(Answer::Overloaded);
        }
        match (op, &self.tip_state) {
            (Op::Push { batch, backend_id }, TipState::Verified(tip)) => {
                match verdict(tip, batch, backend_id.as_ref()) {
                    Verdict::Odd(answer) => Foresight::AfterALook(answer),
                    Verdict::Answer(_) | Verdict::Append => Foresight::Open,
                }
            }
            _ => Foresight::Open,
        }
    }

    fn called(&mut self, ticket: Ticket, op: Op, out: &mut Vec<Effect>) {
        if let Some(answer) = self.answer_at_once(&op) {
            return out.push(Effect::Answer(ticket, answer));
        }
        if self.is_full_for(&op) {
            return out.push(Effect::Answer(ticket, Answer::Overloaded));
        }
        let look = match &op {
            Op::Look(need) => Some((need.clone(), false)),
            Op::Ensure => Some((Need::Fresh, true)),
            Op::Push { .. } | Op::Reset | Op::Adopt => None,
        };
        match look {
            Some((need, creates)) => {
                self.looks.push(Look { ticket, need, creates, prepared: false, created: false })
            }
            None => self.jobs.push_back(Job {
                ticket,
                op,
                prepared: false,
                asked: false,
                refused: false,
            }),
        }
    }

    fn is_full_for(&self, op: &Op) -> bool {
        if matches!(op, Op::Look(_) | Op::Ensure) {
            return self.looks.len() >= self.limits.looks;
        }
        let waiting: u64 = self.jobs.iter().map(|job| job.op.bytes()).sum();
        self.jobs.len() >= self.limits.queue || waiting + op.bytes() > self.limits.queue_bytes
    }

    /// What needs neither the upstream nor a place in the queue: above all the refusal of a stale
    /// push, which so waits neither behind an append in flight nor for a look.
    fn answer_at_once(&self, op: &Op) -> Option<Answer> {
        match (op, &self.tip_state) {
            (Op::Push { batch, backend_id }, TipState::Verified(tip)) => {
                match verdict(tip, batch, backend_id.as_ref()) {
                    Verdict::Answer(answer) => Some(answer),
                    Verdict::Append | Verdict::Odd(_) => None,
                }
            }
            (Op::Push { batch, backend_id }, TipState::Unverified(tip) | TipState::Behind(tip))
                if !self.deleting =>
            {
                reject_if_stale(tip, batch, Some(backend_id.as_ref().unwrap_or(&tip.backend_id)))
            }
            (Op::Look(Need::Known), TipState::NoStream(_)) => Some(Answer::Tip(None)),
            (Op::Look(Need::Known), _) => self.tip().map(|tip| Answer::Tip(Some(tip.clone()))),
            (Op::Look(Need::Reaching(offset)), TipState::Verified(tip))
                if tip.offset >= *offset =>
            {
                Some(Answer::Tip(Some(tip.clone())))
            }
            _ => None,
        }
    }

    /// Works until a request is open or nothing waits. No look delays a job.
    fn advance(&mut self, out: &mut Vec<Effect>) {
        loop {
            if self.open.is_some() {
                return;
            }
            self.answer_looks(out);
            let step = match self.jobs.front_mut() {
                Some(job) => job_step(&mut self.tip_state, job, self.producer_seq),
                None if self.looks.is_empty() => return,
                None => look_step(&mut self.tip_state, &self.looks),
            };
            match step {
                Step::Answer(answer) => self.answer(answer, out),
                Step::Request(request) => self.send(request, out),
            }
        }
    }

    /// Answers the looks that have what they need.
    fn answer_looks(&mut self, out: &mut Vec<Effect>) {
        let (answered, waiting) = std::mem::take(&mut self.looks)
            .into_iter()
            .partition(|look| is_answered(&self.tip_state, look));
        let answered: Vec<Look> = answered;
        self.looks = waiting;
        if !answered.is_empty() && self.jobs.is_empty() {
            self.spent = Spent::default();
        }
        for look in answered {
            let tip = || self.tip().map(|tip| Tip { created: look.created, ..tip.clone() });
            let answer = self.halted().unwrap_or_else(|| Answer::Tip(tip()));
            out.push(Effect::Answer(look.ticket, answer));
        }
    }

    fn send(&mut self, request: Request, out: &mut Vec<Effect>) {
        self.spent.requests += 1;
        if self.spent.requests > self.limits.requests {
            return self.tell_all(&Answer::Unavailable, out);
        }
        let asks = request.asks();
        // Whoever waits is as well served by this request as by one of their own. An append that lands tells the tip, too.
        if asks || matches!(request, Request::Append { .. } | Request::Create) {
            self.looks.iter_mut().for_each(|look| look.prepared = true);
        }
        self.jobs.iter_mut().for_each(|job| job.asked |= asks);
        if request == Request::Delete {
            self.deleting = true;
            out.push(Effect::Deleting);
        }
        // An administrator does not wait for the pause after a halt.
        let is_asked_for = matches!(self.jobs.front(), Some(Job { op: Op::Reset | Op::Adopt, .. }));
        let pause =
            if is_asked_for { self.spent.failures } else { self.spent.failures.max(self.halts) };
        out.push(Effect::Request(request.clone(), pause));
        self.open = Some(request);
    }

    #[inline(never)]
    fn answer(&mut self, answer: Answer, out: &mut Vec<Effect>) {
        self.spent = Spent::default();
        if let Some(job) = self.jobs.pop_front() {
            out.push(Effect::Answer(job.ticket, answer));
        }
    }

    /// Nobody can be served: everyone who waits is told, rather than one by one after a time-out each.
    #[inline(never)]
    fn tell_all(&mut self, answer: &Answer, out: &mut Vec<Effect>) {
        self.spent = Spent::default();
        let jobs = self.jobs.drain(..).map(|job| job.ticket);
        let waiting = jobs.chain(self.looks.drain(..).map(|look| look.ticket));
        out.extend(waiting.map(|ticket| Effect::Answer(ticket, answer.clone())));
    }

    fn replied(&mut self, request: Request, reply: UpstreamResult, out: &mut Vec<Effect>) {
        let goes_on =
            matches!((&request, &reply), (Request::Append { .. }, UpstreamResult::Appended(_)));
        self.producer_seq = if goes_on { self.producer_seq + 1 } else { 0 };
        match (request, reply) {
            (Request::Append { .. }, UpstreamResult::Appended(offset)) => {
                self.appended(offset, out)
            }
            (Request::Append { .. }, UpstreamResult::Conflict) => self.conflict(out),
            (Request::Append { .. }, UpstreamResult::Closed) => self.halt(Halt::Closed),
            (Request::Check, UpstreamResult::Checked(header, tail)) => {
                self.checked(header, tail, out)
            }
            (Request::ReadOn { .. }, UpstreamResult::Read(stretch, end)) => {
                self.read_on(stretch, end, out)
            }
            // An offset of another log may lie in the middle of a message, or be no offset at all.
            (
                Request::ReadOn { .. },
                UpstreamResult::Unreadable
                | UpstreamResult::Gone
                | UpstreamResult::Refused(Refusal { status: 400, .. }),
            ) => self.suspect(),
            (Request::ReadAll { .. }, UpstreamResult::Read(stretch, end)) => {
                self.read_all(stretch, end, out)
            }
            (Request::Check | Request::ReadAll { .. }, UpstreamResult::Unreadable) => {
                self.halt(Halt::Broken("the stream is not JSON".into()))
            }
            (Request::Check | Request::ReadAll { .. }, UpstreamResult::Gone) => {
                self.halt(Halt::Trimmed)
            }
            (
                Request::Check | Request::ReadAll { .. } | Request::ReadOn { .. },
                UpstreamResult::Missing,
            ) => self.missing(out),
            (Request::Create, UpstreamResult::Created(backend_id, offset)) => {
                self.created(backend_id, offset, out)
            }
            (Request::Create, UpstreamResult::Exists) => self.exists(out),
            (
                Request::Delete,
                UpstreamResult::Deleted | UpstreamResult::Missing | UpstreamResult::Gone,
            ) => self.deleted(),
            (Request::Create, UpstreamResult::Missing) => {
                self.tell_all(&Answer::Refused(Refusal { status: 404, retry_after: None }), out)
            }
            (Request::Append { .. } | Request::Delete, UpstreamResult::Refused(refusal)) => {
                self.keep_what_was_to_be_deleted(out);
                self.looks.iter_mut().for_each(|look| look.prepared = false);
                self.answer(Answer::Refused(refusal), out)
            }
            (_, UpstreamResult::Refused(refusal)) => self.tell_all(&Answer::Refused(refusal), out),
            _ => self.failed(out),
        }
    }

    /// A deletion that was refused is none: a stream that is gone later was not deleted here.
    fn keep_what_was_to_be_deleted(&mut self, out: &mut Vec<Effect>) {
        if std::mem::take(&mut self.deleting)
            && let Some(tip) = self.tip()
        {
            out.push(Effect::Record(tip.clone()));
        }
    }

    fn appended(&mut self, offset: Offset, out: &mut Vec<Effect>) {
        let (TipState::Verified(tip), Some(Job { op: Op::Push { batch, .. }, .. })) =
            (&self.tip_state, self.jobs.front())
        else {
            unreachable!("only a push at the front appends, and only to a current tip")
        };
        if offset <= tip.offset {
            // The log was shorter than we knew: what landed is not where it belongs.
            return self.suspect();
        }
        let tip = tip.with(batch, offset).sealing(self.limits.segment);
        self.learn(tip.clone(), out);
        self.answer(Answer::Accepted(tip), out);
    }

    /// The fence held: the log has moved past us, or our own earlier try has landed after all.
    fn conflict(&mut self, out: &mut Vec<Effect>) {
        if let Some(job) = self.jobs.front_mut()
            && std::mem::replace(&mut job.refused, true)
        {
            // The log was read, and no event explains the refusal. Perhaps one that landed is not shown
            // yet; perhaps it is not the log we know.
            self.change(TipState::doubted);
            return self.answer(Answer::Unavailable, out);
        }
        self.change(TipState::passed);
    }

    fn checked(&mut self, header: Option<BackendId>, tail: Offset, out: &mut Vec<Effect>) {
        let backend_id = header.unwrap_or_else(|| self.implicit_id.clone());
        let Some(tip) = self.tip().cloned() else {
            return self.change(|tip_state| TipState::Unknown(tip_state.into_tip()));
        };
        if tip.backend_id != backend_id && !self.may_replace(&tip, true) {
            return self.halt(Halt::Replaced(backend_id));
        }
        let is_there =
            tip.backend_id == backend_id && matches!(self.tip_state, TipState::Unverified(_));
        if !is_there || tail < tip.offset {
            return self.tip_state = TipState::Unknown(Some(tip));
        }
        let is_passed = tail > tip.offset;
        self.learn(tip, out);
        if is_passed {
            self.change(TipState::passed);
        }
    }

    /// Whether a log of another id may be taken for the store's in place of the `old` one. `holds_it`: it holds what made
    /// the old head, or nobody has looked for that yet.
    fn may_replace(&self, old: &Tip, holds_it: bool) -> bool {
        let is_asked_for = matches!(self.jobs.front(), Some(Job { op: Op::Adopt, .. }));
        // The header may have been on its way when the log seemed to have none.
        let had_no_header = old.backend_id == self.implicit_id && (old.head == ROOT || holds_it);
        self.deleting || is_asked_for || had_no_header
    }

    /// What follows a tip was read, and before it perhaps what made that tip.
    fn read_on(&mut self, stretch: LogRange, end: Offset, out: &mut Vec<Effect>) {
        let (tip, is_known) = match &self.tip_state {
            TipState::Unverified(tip) => (tip, stretch.known_found),
            // That it was passed, the tail said or the fence; with the fence, which may have other reasons, a push deals itself.
            TipState::Behind(tip) => {
                (tip, stretch.link.is_some() || self.jobs.front().is_some_and(|job| job.refused))
            }
            _ => unreachable!("what is read on from is a tip"),
        };
        if !is_known || !stretch.continues(tip.head) || end < tip.offset {
            return self.suspect();
        }
        let next = tip.followed_by(&stretch, end).sealing(self.limits.segment);
        self.learn(next.clone(), out);
        self.probed(stretch.probe_found, next, out);
    }

    /// The push that was probed for is in the log, if it was found and means this log.
    fn probed(&mut self, is_found: bool, tip: Tip, out: &mut Vec<Effect>) {
        if let Some(Job { op: Op::Push { backend_id, .. }, .. }) = self.jobs.front()
            && is_found
            && backend_id.as_ref().is_none_or(|id| *id == tip.backend_id)
        {
            self.answer(Answer::Accepted(tip), out);
        }
    }

    fn read_all(&mut self, stretch: LogRange, end: Offset, out: &mut Vec<Effect>) {
        if stretch.bytes == 0 && self.spent.failures + 1 < self.limits.empty_looks {
            // Being created just now, perhaps.
            self.spent.failures += 1;
            return;
        }
        if let Some(broken) = &stretch.broken {
            return self.halt(Halt::Broken(broken.to_string()));
        }
        let head = stretch.link.map_or(ROOT, |(_, last)| last);
        let backend_id = stretch.header.unwrap_or_else(|| self.implicit_id.clone());
        if let Some(old) = self.tip().cloned() {
            let acknowledged = old.head;
            if old.backend_id != backend_id && !self.may_replace(&old, stretch.known_found) {
                return self.halt(Halt::Replaced(backend_id));
            }
            if old.backend_id == backend_id {
                if head < acknowledged {
                    return self.halt(Halt::WentBackwards { acknowledged, found: head });
                }
                if old.made_by.is_some() && !stretch.known_found {
                    return self.halt(Halt::Altered(acknowledged));
                }
                if head == acknowledged && end == old.offset {
                    return self.learn(old, out);
                }
            }
            // Another incarnation, or offsets that the log may not know any more.
            out.push(Effect::Forget);
        }
        let made_by = stretch.link.map(|(parent, _)| (parent, stretch.fingerprint));
        let (events, bytes, sealed) = (stretch.events, stretch.bytes, Sealed::nothing(end.clone()));
        let tip = Tip {
            backend_id,
            head,
            offset: end,
            events,
            bytes,
            sealed,
            made_by,
            before: None,
            created: false,
        };
        let tip = tip.sealing(self.limits.segment);
        self.record(tip.clone(), out);
        self.probed(stretch.probe_found, tip, out);
    }

    fn created(&mut self, backend_id: BackendId, offset: Offset, out: &mut Vec<Effect>) {
        if let TipState::NoStream(Some(_)) = self.tip_state {
            out.push(Effect::Forget);
        }
        let sealed = Sealed::nothing(offset.clone());
        let tip = Tip {
            backend_id,
            head: ROOT,
            offset,
            events: 0,
            bytes: 0,
            sealed,
            made_by: None,
            before: None,
            created: false,
        };
        if let Some(look) = self.looks.iter_mut().find(|look| look.creates) {
            look.created = true;
        }
        self.record(tip, out);
    }

    fn exists(&mut self, out: &mut Vec<Effect>) {
        if let Some(Job { op: Op::Reset, prepared, .. }) = self.jobs.front_mut() {
            // Then it was not deleted, whoever said so.
            *prepared = false;
            self.change(|tip_state| {
                tip_state.into_tip().map_or(TipState::Unknown(None), TipState::Unverified)
            });
            return self.failed(out);
        }
        self.spent.exists = true;
        self.change(|tip_state| TipState::Unknown(tip_state.into_tip()));
    }

    fn deleted(&mut self) {
        if let Some(job) = self.jobs.front_mut() {
            job.prepared = true;
        }
        self.change(|tip_state| TipState::NoStream(tip_state.into_tip()));
    }

    /// There is no such stream, says whoever answered. Of a stream that should be there that is believed after some tries,
    /// and then it is a loss; only of one that this Sequencer set out to delete it is a reset.
    fn missing(&mut self, out: &mut Vec<Effect>) {
        if self.spent.exists {
            return self.failed(out);
        }
        match self.tip().filter(|_| !self.deleting) {
            None => self.change(|tip_state| TipState::NoStream(tip_state.into_tip())),
            Some(tip) if self.halts > 0 || self.spent.failures + 1 >= self.limits.attempts => {
                self.halt(Halt::Missing(tip.head));
            }
            Some(_) => self.spent.failures += 1,
        }
    }

    /// What was read or landed does not fit the tip: whose log is it, and what does it hold?
    #[inline(never)]
    fn suspect(&mut self) {
        self.change(|tip_state| match tip_state {
            TipState::Unverified(tip) | TipState::Behind(tip) | TipState::Verified(tip) => {
                TipState::Contradicted(tip)
            }
            other => other,
        });
    }

    #[inline(never)]
    fn halt(&mut self, halt: Halt) {
        self.halts = (self.halts + 1).min(MAX_HALTS);
        self.change(|tip_state| TipState::Halted(halt, tip_state.into_tip()));
    }

    /// An outcome that nobody knows. What was believed is checked before anything else; after too
    /// many in a row everyone who waits is told.
    #[inline(never)]
    fn failed(&mut self, out: &mut Vec<Effect>) {
        self.change(TipState::doubted);
        self.spent.failures += 1;
        if self.spent.failures >= self.limits.attempts {
            self.tell_all(&Answer::Unavailable, out);
        }
    }

    /// The tip, which is stored if it is not yet.
    fn learn(&mut self, tip: Tip, out: &mut Vec<Effect>) {
        if self.tip() == Some(&tip) && !self.deleting {
            (self.tip_state, self.halts) = (TipState::Verified(tip), 0);
        } else {
            self.record(tip, out);
        }
    }

    #[inline(never)]
    fn record(&mut self, tip: Tip, out: &mut Vec<Effect>) {
        out.push(Effect::Record(tip.clone()));
        (self.tip_state, self.halts, self.deleting) = (TipState::Verified(tip), 0, false);
    }

    fn change(&mut self, to: impl FnOnce(TipState) -> TipState) {
        let tip_state = std::mem::replace(&mut self.tip_state, TipState::Unknown(None));
        self.tip_state = to(tip_state);
    }
}
