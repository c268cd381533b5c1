//! The Sequencer's decisions: a state machine without IO, clock or randomness.
//!
//! The contract with whoever drives it: call [`Core::handle`] with each [`Input`] and carry out the
//! [`Output`]s in their order, `Record` and `Forget` durably before the `Reply` that follows them. At
//! most one [`Output::Request`] is open at any time; its outcome comes back as [`Input::Upstream`],
//! and nothing else need ever be retried or timed by the driver.
//!
//! Invariants:
//! - **Memory never runs ahead of the log**: the head moves when an append is known to have landed.
//! - **Nothing is appended on a guess**: only while the tip is [`Knowledge::Current`], and always
//!   with the fence of the batch's parent, so that even a wrong belief can't break the chain.
//! - **An unknown outcome is never retried blindly**: the log is read first.

mod decide;
mod terms;

use std::collections::VecDeque;

use self::decide::{Step, Verdict, next_step, told, verdict};
use super::scan::Stretch;
use crate::event::{BackendId, Offset, ROOT};
pub use decide::foregone;
pub use terms::{Answer, Halt, Input, Need, Op, Output, Refusal, Reply, Request, Sealed, SegmentSize, Ticket, Tip};

/// How sure the Sequencer is of the end of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Knowledge {
    /// Nothing is known: the stream must be read from its start. Holds the tip that the upstream
    /// contradicted, if that is why.
    Unread(Option<Tip>),
    /// The tip as stored, or as it was before something went wrong: the tail is to be compared.
    Unchecked(Tip),
    /// The log has moved past this tip: what follows it is to be read.
    Passed(Tip),
    /// The tip.
    Current(Tip),
    /// The upstream has no such stream.
    Absent,
    /// The log can't be trusted.
    Halted(Halt, Option<Tip>),
}

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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    ticket: Ticket,
    op: Op,
    /// Whether what this job wants done first is done: the upstream asked, or for a `Reset` the
    /// stream deleted.
    prepared: bool,
    /// Whether the fence has refused this push, and the log has been read since.
    refused: bool,
}

/// How much may wait, and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Calls that may wait.
    pub queue: usize,
    /// Bytes of batches that may wait.
    pub queue_bytes: u64,
    /// Requests for one job that may fail before all that wait is answered `Unavailable`.
    pub attempts: u8,
    /// Looks at an empty stream before it is believed to have no header: 5, with the pauses between them,
    /// are 3 s. The Rust server creates a stream before its first message, and shows it so.
    pub empty_looks: u8,
    /// How long segments are.
    pub segment: SegmentSize,
}

impl Default for Limits {
    fn default() -> Self {
        let segment = SegmentSize { events: 10_000, bytes: 1 << 20 };
        Self { queue: 256, queue_bytes: 32 << 20, attempts: 3, empty_looks: 5, segment }
    }
}

/// One store's Sequencer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    limits: Limits,
    /// The id of a stream that has no header (docs/wire.md, "The header").
    implicit_id: BackendId,
    knowledge: Knowledge,
    /// In the order of arrival; the first is the one being worked on.
    queue: VecDeque<Job>,
    /// The request that is open.
    open: Option<Request>,
    /// Requests for the first job that failed.
    failures: u8,
    /// Appends that landed since the log was last looked at.
    streak: u64,
}

impl Core {
    /// A Sequencer that begins with what was stored. `implicit_id` names a stream without a header.
    pub fn new(stored: Option<Tip>, implicit_id: BackendId, limits: Limits) -> Self {
        let knowledge = stored.map_or(Knowledge::Unread(None), Knowledge::Unchecked);
        Self { limits, implicit_id, knowledge, queue: VecDeque::new(), open: None, failures: 0, streak: 0 }
    }

    /// Takes one input and says what to do, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
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
        match &self.knowledge {
            Knowledge::Unchecked(tip) | Knowledge::Passed(tip) | Knowledge::Current(tip) => Some(tip),
            Knowledge::Halted(_, tip) => tip.as_ref(),
            Knowledge::Unread(_) | Knowledge::Absent => None,
        }
    }

    /// Why no push is taken, though a look at the store may still be answered with the tip that was known.
    pub fn halted(&self) -> Option<Answer> {
        match &self.knowledge {
            Knowledge::Halted(halt, tip) => Some(told(halt, tip.as_ref())),
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
        match (op, &self.knowledge) {
            (Op::Push { batch, backend_id }, Knowledge::Current(tip)) => {
                match verdict(tip, batch, backend_id.as_ref()) {
                    Verdict::Odd(answer) => Foresight::AfterALook(answer),
                    Verdict::Answer(_) | Verdict::Append => Foresight::Open,
                }
            }
            _ => Foresight::Open,
        }
    }

    fn called(&mut self, ticket: Ticket, op: Op, out: &mut Vec<Output>) {
        if let Some(answer) = self.answer_at_once(&op) {
            return out.push(Output::Reply(ticket, answer));
        }
        if self.is_full_for(&op) {
            return out.push(Output::Reply(ticket, Answer::Overloaded));
        }
        self.queue.push_back(Job { ticket, op, prepared: false, refused: false });
    }

    fn is_full_for(&self, op: &Op) -> bool {
        let waiting: u64 = self.queue.iter().map(|job| job.op.bytes()).sum();
        self.queue.len() >= self.limits.queue || waiting + op.bytes() > self.limits.queue_bytes
    }

    /// What needs neither the upstream nor a place in the queue: above all the refusal of a stale
    /// push, which so never waits behind an append in flight.
    fn answer_at_once(&self, op: &Op) -> Option<Answer> {
        match (op, &self.knowledge) {
            (Op::Push { batch, backend_id }, Knowledge::Current(tip)) => {
                match verdict(tip, batch, backend_id.as_ref()) {
                    Verdict::Answer(answer) => Some(answer),
                    Verdict::Append | Verdict::Odd(_) => None,
                }
            }
            (Op::Look(Need::Known), Knowledge::Absent) => Some(Answer::Tip(None)),
            (Op::Look(Need::Known), _) => self.tip().map(|tip| Answer::Tip(Some(tip.clone()))),
            (Op::Look(Need::Reaching(offset)), Knowledge::Current(tip)) if tip.offset >= *offset => {
                Some(Answer::Tip(Some(tip.clone())))
            }
            _ => None,
        }
    }

    /// Works on the queue until a request is open or nothing waits.
    fn advance(&mut self, out: &mut Vec<Output>) {
        while self.open.is_none()
            && let Some(job) = self.queue.front_mut()
        {
            match next_step(&mut self.knowledge, job, self.streak) {
                Step::Answer(answer) => self.answer(answer, out),
                Step::Request(request) => {
                    out.push(Output::Request(request.clone(), self.failures));
                    self.open = Some(request);
                }
            }
        }
    }

    fn answer(&mut self, answer: Answer, out: &mut Vec<Output>) {
        self.failures = 0;
        if let Some(job) = self.queue.pop_front() {
            out.push(Output::Reply(job.ticket, answer));
        }
    }

    fn replied(&mut self, request: Request, reply: Reply, out: &mut Vec<Output>) {
        let goes_on = matches!((&request, &reply), (Request::Append { .. }, Reply::Appended(_)));
        self.streak = if goes_on { self.streak + 1 } else { 0 };
        match (request, reply) {
            (Request::Append { .. }, Reply::Appended(offset)) => self.appended(offset, out),
            (Request::Append { .. }, Reply::Conflict) => self.conflict(out),
            (Request::Append { .. }, Reply::Closed) => self.halt(Halt::Closed),
            (Request::Check, Reply::Checked(header, tail)) => self.checked(header, tail, out),
            (Request::ReadOn { .. }, Reply::Read(stretch, end)) => self.read_on(stretch, end, out),
            // An offset of another life may lie in the middle of a message, or be no offset at all.
            (Request::ReadOn { .. }, Reply::Unreadable | Reply::Refused(Refusal { status: 400, .. })) => self.suspect(),
            (Request::ReadAll, Reply::Read(stretch, end)) => self.read_all(stretch, end, out),
            (Request::Check | Request::ReadAll, Reply::Unreadable) => {
                self.halt(Halt::Broken("the stream is not JSON".into()))
            }
            (Request::Create, Reply::Created(backend_id, offset)) => self.created(backend_id, offset, out),
            (Request::Create, Reply::Exists) => self.knowledge = Knowledge::Unread(None),
            (Request::Create, Reply::Missing) => {
                self.answer(Answer::Refused(Refusal { status: 404, retry_after: None }), out)
            }
            (Request::Delete, Reply::Deleted | Reply::Missing) => self.deleted(out),
            (_, Reply::Missing) => self.gone(out),
            (_, Reply::Refused(refusal)) => self.answer(Answer::Refused(refusal), out),
            _ => self.failed(out),
        }
    }

    fn appended(&mut self, offset: Offset, out: &mut Vec<Output>) {
        let (Knowledge::Current(tip), Some(Job { op: Op::Push { batch, .. }, .. })) =
            (&self.knowledge, self.queue.front())
        else {
            unreachable!("only a push at the front appends, and only to a current tip")
        };
        if offset <= tip.offset {
            // The log was shorter than we knew: what landed is not where it belongs.
            return self.suspect();
        }
        let tip = Tip {
            backend_id: tip.backend_id.clone(),
            head: batch.last,
            offset,
            events: tip.events + batch.events,
            bytes: tip.bytes + batch.bytes,
            sealed: tip.sealed.clone(),
            made_by: Some((batch.parent, batch.fingerprint)),
        };
        let tip = tip.sealing(self.limits.segment);
        self.learn(tip.clone(), out);
        self.answer(Answer::Accepted(tip), out);
    }

    /// The fence held: the log has moved past us, or our own earlier try has landed after all.
    fn conflict(&mut self, out: &mut Vec<Output>) {
        if let Some(job) = self.queue.front_mut()
            && std::mem::replace(&mut job.refused, true)
        {
            // The log was read, and no event explains the refusal. Perhaps one that landed is not shown
            // yet; perhaps it is not the log we know.
            self.change(Knowledge::doubted);
            return self.answer(Answer::Unavailable, out);
        }
        self.change(|knowledge| match knowledge {
            Knowledge::Current(tip) => Knowledge::Passed(tip),
            other => other,
        });
    }

    fn checked(&mut self, header: Option<BackendId>, tail: Offset, out: &mut Vec<Output>) {
        let backend_id = header.unwrap_or_else(|| self.implicit_id.clone());
        self.change(|knowledge| match knowledge {
            Knowledge::Unchecked(tip) if tip.backend_id != backend_id => {
                out.push(Output::Forget);
                Knowledge::Unread(None)
            }
            Knowledge::Unchecked(tip) if tail == tip.offset => Knowledge::Current(tip),
            Knowledge::Unchecked(tip) if tail > tip.offset => Knowledge::Passed(tip),
            Knowledge::Unchecked(tip) => Knowledge::Unread(Some(tip)),
            Knowledge::Absent => Knowledge::Unread(None),
            other => other,
        });
    }

    fn read_on(&mut self, stretch: Stretch, end: Offset, out: &mut Vec<Output>) {
        let Knowledge::Passed(tip) = &self.knowledge else { unreachable!("read on from a tip that was passed") };
        if !stretch.continues(tip.head) || end < tip.offset {
            return self.suspect();
        }
        let next = Tip {
            backend_id: tip.backend_id.clone(),
            head: stretch.link.map_or(tip.head, |(_, last)| last),
            offset: end,
            events: tip.events + stretch.events,
            bytes: tip.bytes + stretch.bytes,
            sealed: tip.sealed.clone(),
            made_by: stretch.link.map_or(tip.made_by, |(parent, _)| Some((parent, stretch.fingerprint))),
        };
        let next = next.sealing(self.limits.segment);
        self.learn(next.clone(), out);
        if stretch.probe_found {
            self.answer(Answer::Accepted(next), out);
        }
    }

    fn read_all(&mut self, stretch: Stretch, end: Offset, out: &mut Vec<Output>) {
        let suspect = match &self.knowledge {
            Knowledge::Unread(suspect) => suspect.clone(),
            _ => unreachable!("all is read when nothing is known"),
        };
        if stretch.bytes == 0 && self.failures + 1 < self.limits.empty_looks {
            // Being created just now, perhaps.
            self.failures += 1;
            return;
        }
        if let Some(broken) = &stretch.broken {
            return self.halt(Halt::Broken(broken.to_string()));
        }
        let head = stretch.link.map_or(ROOT, |(_, last)| last);
        let backend_id = stretch.header.unwrap_or_else(|| self.implicit_id.clone());
        if let Some(old) = suspect {
            if old.backend_id == backend_id && (head < old.head || end < old.offset) {
                return self.halt(Halt::WentBackwards { acknowledged: old.head, found: head });
            }
            // Of another backend, or with offsets that the log may not know any more.
            out.push(Output::Forget);
        }
        let made_by = stretch.link.map(|(parent, _)| (parent, stretch.fingerprint));
        let (events, bytes, sealed) = (stretch.events, stretch.bytes, Sealed::nothing(end.clone()));
        let tip = Tip { backend_id, head, offset: end, events, bytes, sealed, made_by };
        self.learn(tip.sealing(self.limits.segment), out);
    }

    fn created(&mut self, backend_id: BackendId, offset: Offset, out: &mut Vec<Output>) {
        let sealed = Sealed::nothing(offset.clone());
        self.learn(Tip { backend_id, head: ROOT, offset, events: 0, bytes: 0, sealed, made_by: None }, out);
    }

    fn deleted(&mut self, out: &mut Vec<Output>) {
        if let Some(job) = self.queue.front_mut() {
            job.prepared = true;
        }
        self.gone(out);
    }

    fn gone(&mut self, out: &mut Vec<Output>) {
        self.knowledge = Knowledge::Absent;
        out.push(Output::Forget);
    }

    /// What was read or landed does not fit the tip: the whole log must say what it is.
    fn suspect(&mut self) {
        self.change(|knowledge| match knowledge {
            Knowledge::Passed(tip) | Knowledge::Current(tip) => Knowledge::Unread(Some(tip)),
            other => other,
        });
    }

    fn halt(&mut self, halt: Halt) {
        self.change(|knowledge| Knowledge::Halted(halt, knowledge.into_tip()));
    }

    /// An outcome that nobody knows. What was believed is checked before anything else; after too
    /// many in a row everyone who waits is told, rather than one by one after a time-out each.
    fn failed(&mut self, out: &mut Vec<Output>) {
        self.change(Knowledge::doubted);
        self.failures += 1;
        if self.failures >= self.limits.attempts {
            while !self.queue.is_empty() {
                self.answer(Answer::Unavailable, out);
            }
        }
    }

    fn learn(&mut self, tip: Tip, out: &mut Vec<Output>) {
        if self.tip() != Some(&tip) {
            out.push(Output::Record(tip.clone()));
        }
        self.knowledge = Knowledge::Current(tip);
    }

    fn change(&mut self, to: impl FnOnce(Knowledge) -> Knowledge) {
        let knowledge = std::mem::replace(&mut self.knowledge, Knowledge::Absent);
        self.knowledge = to(knowledge);
    }
}

impl Knowledge {
    fn into_tip(self) -> Option<Tip> {
        match self {
            Knowledge::Unchecked(tip) | Knowledge::Passed(tip) | Knowledge::Current(tip) => Some(tip),
            Knowledge::Unread(tip) | Knowledge::Halted(_, tip) => tip,
            Knowledge::Absent => None,
        }
    }

    /// The same, but to be checked against the upstream before it is relied on.
    fn doubted(self) -> Self {
        match self {
            Knowledge::Current(tip) | Knowledge::Halted(_, Some(tip)) => Knowledge::Unchecked(tip),
            Knowledge::Halted(_, None) => Knowledge::Unread(None),
            other => other,
        }
    }
}
