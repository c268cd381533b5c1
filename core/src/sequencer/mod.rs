//! The Sequencer's decisions: a state machine without IO, clock or randomness.
//!
//! The driver's contract: call [`Core::handle`] with each [`Input`], and carry out the [`Effect`]s in their order. Make
//! `Forget` and `Deleting` durable before the effects that follow them, and `Record` as its documentation says. At most
//! one [`Effect::Request`] is open at any time. Its outcome comes back as [`Input::Upstream`]. The driver retries and
//! times nothing else.
//!
//! Invariants:
//! - **Memory never runs ahead of the log.** The head moves only when an append is known to have landed.
//! - **The Sequencer never appends on a guess.** It appends only while the tip is [`TipState::Verified`], and always with
//!   the fence of the batch's parent. Therefore even a wrong belief can't break the chain.
//! - **The Sequencer never repeats an append with an unknown outcome blindly.** It reads the log first.
//! - **The Sequencer never gives up an acknowledged event unasked.** It accepts another incarnation, or none, only after
//!   it set out to delete the stream, or when an administrator adopts a log. Otherwise the store halts.
//! - **Work ends, whatever the upstream answers.** Each piece of work has a budget of requests.

pub mod call;
pub mod copy;
mod decide;
mod problems;
mod results;
mod terms;
mod tip_state;

use std::collections::VecDeque;

use self::decide::{Step, Verdict, halted_answer, is_satisfied, job_step, look_step, verdict};
use self::tip_state::TipState;
use crate::event::BackendId;
use crate::segments::plan::SegmentSize;
pub use decide::reject_if_stale;
pub use terms::{
    Answer, Before, Effect, Halt, Input, Need, News, Op, Recorded, Refusal, Request, Sealed, Tail,
    Ticket, Tip, UpstreamResult,
};

/// The answer to a call, as far as it can be told before its batch has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foresight {
    /// The answer is certain.
    Answer(Answer),
    /// The answer is certain if a [fresh](Need::Fresh) look at the log confirms it.
    AfterALook(Answer),
    /// The answer depends on what happens until the batch has arrived.
    Open,
}

/// A call that changes something. The Sequencer works on jobs one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    ticket: Ticket,
    op: Op,
    /// Whether the job's first step is done: a `Reset` deletes the stream, a push and an `Adopt` ask the upstream once
    /// more.
    prepared: bool,
    /// Whether any request has asked the upstream since the job arrived.
    asked: bool,
    /// Whether the fence has refused this push once. The Sequencer reads the log before it appends again.
    refused: bool,
}

/// A call that asks for the tip. One request answers all looks that wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Look {
    ticket: Ticket,
    need: Need,
    /// Whether the look creates the stream if there is none.
    creates: bool,
    /// Whether a request has asked the upstream since the look arrived.
    prepared: bool,
    /// Whether this look has created the stream.
    created: bool,
}

/// The bounds of what may wait, and of how often the Sequencer tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequencerLimits {
    /// The most calls that change something and wait.
    pub queue: usize,
    /// The most looks that wait. One request answers them all.
    pub looks: usize,
    /// The most bytes of batches that wait.
    pub queue_bytes: u64,
    /// The requests of one piece of work that may fail. Then all callers that wait are answered `Unavailable`.
    pub attempts: u8,
    /// Looks at an empty stream until the Sequencer believes that it has no header. With the pauses between them, 5
    /// looks take 3 s. The Rust server shows a stream before it has its first message.
    pub empty_looks: u8,
    /// The most requests of one piece of work, whatever their results. No work needs as many: only answers that go
    /// round in circles reach this bound.
    pub requests: u8,
    /// When a segment is long enough.
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

/// The number of looks at a halted store after which the pause before the next look stops growing.
const MAX_HALTS: u8 = 5;

/// One store's Sequencer. `inline(never)` marks what many places call: the module's size has a budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    limits: SequencerLimits,
    /// The id of a stream that has no header (docs/http-api.md, "The header").
    implicit_id: BackendId,
    tip_state: TipState,
    /// Whether this Sequencer set out to delete the stream, and has not recorded a tip since.
    deleting: bool,
    /// In the order of arrival. The Sequencer works on the first one.
    jobs: VecDeque<Job>,
    /// Looks wait for no job, and delay none.
    looks: Vec<Look>,
    /// The request whose result has not come back yet.
    open: Option<Request>,
    /// The cost of the current work so far.
    spent: Spent,
    /// What the last look at the log found, if it found the store halted, and how many looks in a row did, up to
    /// [`MAX_HALTS`].
    last_halt: Option<(Halt, u8)>,
    /// Appends that landed since the last look at the log.
    producer_seq: u64,
    /// Whether the last verified tip was the end of all that this Sequencer has sent. Then somebody else wrote what
    /// follows it. After a start it is unknown, because the rows may lag.
    sent_nothing_beyond: bool,
}

/// The cost of one piece of work, which ends work that does not end by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Spent {
    requests: u8,
    failures: u8,
    /// Whether the upstream said that the stream exists. If it then says "missing", it contradicts itself.
    exists: bool,
}

impl Core {
    /// A Sequencer that starts from what it stored. `implicit_id` is the id of a stream without a header.
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
            last_halt: None,
            producer_seq: 0,
            sent_nothing_beyond: false,
        }
    }

    /// Takes one input, and returns the effects to carry out in their order.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Call(ticket, op) => self.handle_call(ticket, op, &mut effects),
            Input::Upstream(result) => {
                let request = self.open.take().expect("a result without a request");
                self.handle_result(request, result, &mut effects);
            }
        }
        self.advance(&mut effects);
        effects
    }

    /// The tip, if the Sequencer knows one.
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

    /// Why the store takes no pushes, as the last look at the log found it; `None` if that look found no fault. It holds
    /// while the next look is under way. Looks may still receive the tip that was known.
    pub fn halted(&self) -> Option<Answer> {
        match (&self.tip_state, &self.last_halt) {
            (TipState::NoStream(_), _) | (_, None) => None,
            (_, Some((halt, _))) => Some(halted_answer(halt, self.tip())),
        }
    }

    /// Looks in a row that found the store halted.
    fn halts(&self) -> u8 {
        self.last_halt.as_ref().map_or(0, |(_, looks)| *looks)
    }

    /// Foresees the answer to a call. A caller need not read a batch whose answer is certain.
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
                    Verdict::Unconfirmed(answer) => Foresight::AfterALook(answer),
                    Verdict::Answer(_) | Verdict::Append => Foresight::Open,
                }
            }
            _ => Foresight::Open,
        }
    }

    fn handle_call(&mut self, ticket: Ticket, op: Op, effects: &mut Vec<Effect>) {
        if let Some(answer) = self.answer_at_once(&op) {
            return effects.push(Effect::Answer(ticket, answer));
        }
        if self.is_full_for(&op) {
            return effects.push(Effect::Answer(ticket, Answer::Overloaded));
        }
        let look = match &op {
            Op::Look(need) => Some((need.clone(), false)),
            Op::Ensure => Some((Need::Fresh, true)),
            _ => None,
        };
        match look {
            Some((need, creates)) => {
                self.looks.push(Look { ticket, need, creates, prepared: false, created: false });
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

    /// The answer that needs neither the upstream nor a place in the queue. A stale push is refused here: it waits
    /// neither behind an append in flight nor for a look.
    fn answer_at_once(&self, op: &Op) -> Option<Answer> {
        match (op, &self.tip_state) {
            (Op::Push { batch, backend_id }, TipState::Verified(tip)) => {
                match verdict(tip, batch, backend_id.as_ref()) {
                    Verdict::Answer(answer) => Some(answer),
                    Verdict::Append | Verdict::Unconfirmed(_) => None,
                }
            }
            (Op::Push { batch, backend_id }, TipState::Unverified(tip) | TipState::Behind(tip))
                if !self.deleting =>
            {
                reject_if_stale(tip, batch, Some(backend_id.as_ref().unwrap_or(&tip.backend_id)))
            }
            (Op::Look(Need::Known), TipState::NoStream(_)) => Some(Answer::Tip(None)),
            // The stream may be gone, or be another one already.
            (Op::Look(Need::Known), _) if self.deleting => None,
            (Op::Look(Need::Known), _) => self.tip().map(|tip| Answer::Tip(Some(tip.clone()))),
            (Op::Look(Need::Reaching(offset)), TipState::Verified(tip))
                if tip.offset >= *offset =>
            {
                Some(Answer::Tip(Some(tip.clone())))
            }
            _ => None,
        }
    }

    /// Works until a request is open or nothing waits. Jobs go first, therefore no look delays a job.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        loop {
            if self.open.is_some() {
                return;
            }
            self.answer_looks(effects);
            let step = match self.jobs.front_mut() {
                Some(job) => job_step(&mut self.tip_state, job, self.producer_seq),
                None if self.looks.is_empty() => return,
                None => look_step(&mut self.tip_state, &self.looks),
            };
            match step {
                Step::Answer(answer) => {
                    if answer == Answer::Deleted {
                        self.forget(effects);
                    }
                    self.answer(answer, effects);
                }
                Step::Request(request) => self.send(request, effects),
            }
        }
    }

    /// Answers the looks whose need is met.
    fn answer_looks(&mut self, effects: &mut Vec<Effect>) {
        let (answered, waiting) = std::mem::take(&mut self.looks)
            .into_iter()
            .partition(|look| is_satisfied(&self.tip_state, look));
        let answered: Vec<Look> = answered;
        self.looks = waiting;
        if !answered.is_empty() && self.jobs.is_empty() {
            self.spent = Spent::default();
        }
        for look in answered {
            let tip = || self.tip().map(|tip| Tip { created: look.created, ..tip.clone() });
            let answer = match &self.tip_state {
                TipState::Halted(halt, tip) => halted_answer(halt, tip.as_ref()),
                _ => Answer::Tip(tip()),
            };
            effects.push(Effect::Answer(look.ticket, answer));
        }
    }

    fn send(&mut self, request: Request, effects: &mut Vec<Effect>) {
        self.spent.requests += 1;
        if self.spent.requests > self.limits.requests {
            return self.answer_all(&Answer::Unavailable, effects);
        }
        let is_read_only = request.is_read_only();
        // This request serves every look that waits. An append that lands tells the tip, too.
        if is_read_only || matches!(request, Request::Append { .. } | Request::Create) {
            self.looks.iter_mut().for_each(|look| look.prepared = true);
        }
        self.jobs.iter_mut().for_each(|job| job.asked |= is_read_only);
        if request == Request::Delete {
            self.deleting = true;
            effects.push(Effect::Deleting);
        }
        // An administrator does not wait for the pause after a halt.
        let is_by_administrator =
            self.jobs.front().is_some_and(|job| !matches!(job.op, Op::Push { .. }));
        let pause = if is_by_administrator {
            self.spent.failures
        } else {
            self.spent.failures.max(self.halts())
        };
        effects.push(Effect::Request(request.clone(), pause));
        self.open = Some(request);
    }

    #[inline(never)]
    fn answer(&mut self, answer: Answer, effects: &mut Vec<Effect>) {
        self.spent = Spent::default();
        if let Some(job) = self.jobs.pop_front() {
            effects.push(Effect::Answer(job.ticket, answer));
        }
    }

    /// Answers every caller that waits. Otherwise each one would wait for a timeout of its own.
    #[inline(never)]
    fn answer_all(&mut self, answer: &Answer, effects: &mut Vec<Effect>) {
        self.spent = Spent::default();
        let jobs = self.jobs.drain(..).map(|job| job.ticket);
        let waiting = jobs.chain(self.looks.drain(..).map(|look| look.ticket));
        effects.extend(waiting.map(|ticket| Effect::Answer(ticket, answer.clone())));
    }
}
