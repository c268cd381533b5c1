//! What one job comes to, given what is known of the log.

use std::cmp::Ordering;

use super::{Answer, Halt, Job, Knowledge, Need, Op, Request, Tip};
use crate::batch::Batch;
use crate::event::{BackendId, SeqNum};
use crate::sequencer::scan::Probe;

/// What the job at the front of the queue needs next.
pub(super) enum Step {
    Answer(Answer),
    Request(Request),
}

/// Decides it.
pub(super) fn next_step(knowledge: &mut Knowledge, job: &mut Job, streak: u64) -> Step {
    let asks_first = matches!(job.op, Op::Look(Need::Fresh | Need::Reaching(_)) | Op::Ensure);
    let halted = matches!((&*knowledge, &job.op), (Knowledge::Halted(..), Op::Push { .. }));
    if !job.prepared && (asks_first || halted) {
        job.prepared = true;
        *knowledge = knowledge.clone().doubted();
        if matches!((&job.op, &knowledge), (Op::Look(_), Knowledge::Absent)) {
            return Step::Request(Request::Check);
        }
    }
    match (&*knowledge, &job.op) {
        (_, Op::Reset) if !job.prepared => Step::Request(Request::Delete),
        (Knowledge::Halted(halt, tip), _) => Step::Answer(told(halt, tip.as_ref())),
        (Knowledge::Unread(_), _) => Step::Request(Request::ReadAll),
        (Knowledge::Unchecked(_), _) => Step::Request(Request::Check),
        (Knowledge::Passed(tip), op) => {
            Step::Request(Request::ReadOn { from: tip.offset.clone(), probe: op.probe_at(tip.head) })
        }
        (Knowledge::Absent, Op::Look(_)) => Step::Answer(Answer::Tip(None)),
        (Knowledge::Absent, _) => Step::Request(Request::Create),
        (Knowledge::Current(tip), Op::Push { batch, backend_id }) => match verdict(tip, batch, backend_id.as_ref()) {
            Verdict::Answer(answer) => Step::Answer(answer),
            Verdict::Append => Step::Request(Request::Append { ticket: job.ticket, parent: batch.parent, streak }),
            Verdict::Odd(answer) if job.prepared => Step::Answer(answer),
            Verdict::Odd(_) => {
                job.prepared = true;
                *knowledge = knowledge.clone().doubted();
                Step::Request(Request::Check)
            }
        },
        (Knowledge::Current(tip), _) => Step::Answer(Answer::Tip(Some(tip.clone()))),
    }
}

pub(super) fn told(halt: &Halt, tip: Option<&Tip>) -> Answer {
    Answer::Halted(halt.clone(), tip.map(|tip| tip.backend_id.clone()))
}

/// What a push comes to.
pub(super) enum Verdict {
    /// The batch follows the head.
    Append,
    Answer(Answer),
    /// The answer if the upstream confirms the tip: either the client is wrong, or we have not yet
    /// heard of what someone else did.
    Odd(Answer),
}

/// Decides a push against a tip (docs/architecture.md, "A push").
pub(super) fn verdict(tip: &Tip, batch: &Batch, backend_id: Option<&BackendId>) -> Verdict {
    if let Some(received) = backend_id
        && *received != tip.backend_id
    {
        let (expected, received) = (tip.backend_id.clone(), received.clone());
        return Verdict::Odd(Answer::BackendIdMismatch { expected, received });
    }
    let made_the_head = batch.last == tip.head && tip.made_by == Some((batch.parent, batch.fingerprint));
    if made_the_head {
        return Verdict::Answer(Answer::AcceptedAgain(tip.clone()));
    }
    match batch.parent.cmp(&tip.head) {
        Ordering::Less => {
            Verdict::Answer(Answer::ServerAhead { minimum_expected: tip.head + 1, provided: batch.first })
        }
        Ordering::Equal => Verdict::Append,
        Ordering::Greater => Verdict::Odd(Answer::Gap { head: tip.head, parent: batch.parent }),
    }
}

/// What a push comes to for certain, whatever has happened since this was the tip; `None` if only the Sequencer
/// can tell. As long as the backend is the same the head only grows, so what was passed once stays passed.
pub fn foregone(tip: &Tip, batch: &Batch, backend_id: Option<&BackendId>) -> Option<Answer> {
    // What ends beyond this head may be what has made a later one.
    if backend_id != Some(&tip.backend_id) || batch.last > tip.head {
        return None;
    }
    match verdict(tip, batch, backend_id) {
        Verdict::Answer(answer @ Answer::ServerAhead { .. }) => Some(answer),
        _ => None,
    }
}

impl Op {
    /// Bytes held while this waits.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Op::Push { batch, .. } => batch.bytes,
            _ => 0,
        }
    }

    /// If this is a push onto `head`, it may have landed already: how to find it in what follows.
    fn probe_at(&self, head: SeqNum) -> Option<Probe> {
        match self {
            Op::Push { batch, .. } if batch.parent == head => {
                Some(Probe { events: batch.events, fingerprint: batch.fingerprint })
            }
            _ => None,
        }
    }
}
