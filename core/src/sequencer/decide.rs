//! What one job comes to, given what is known of the log.

use std::cmp::Ordering;

use super::tip_state::TipState;
use super::{Answer, Halt, Job, Look, Need, Op, Request, Tip};
use crate::batch::Batch;
use crate::event::BackendId;
use crate::log::Probe;

/// What is to be done next.
pub(super) enum Step {
    /// Answer the job.
    Answer(Answer),
    Request(Request),
}

/// Decides it for the job at the front.
pub(super) fn job_step(tip_state: &mut TipState, job: &mut Job, producer_seq: u64) -> Step {
    match (&job.op, &*tip_state) {
        (Op::Reset, _) if !job.prepared => return Step::Request(Request::Delete),
        (Op::Adopt, _) if !job.prepared => {
            job.prepared = true;
            *tip_state = TipState::Unknown(tip_state.clone().into_tip());
        }
        (Op::Push { .. }, TipState::Halted(..)) if !job.asked => {
            *tip_state = tip_state.clone().doubted()
        }
        _ => {}
    }
    if let Some(request) = inquiry(tip_state, Some(&job.op)) {
        return Step::Request(request);
    }
    match (&*tip_state, &job.op) {
        (TipState::Halted(halt, tip), _) => Step::Answer(told(halt, tip.as_ref())),
        (TipState::NoStream(_), Op::Adopt) => Step::Answer(Answer::Tip(None)),
        (TipState::Verified(tip), Op::Push { batch, backend_id }) => {
            match verdict(tip, batch, backend_id.as_ref()) {
                Verdict::Answer(answer) => Step::Answer(answer),
                Verdict::Append => Step::Request(Request::Append {
                    ticket: job.ticket,
                    parent: batch.parent,
                    producer_seq,
                }),
                Verdict::Odd(answer) if job.prepared => Step::Answer(answer),
                Verdict::Odd(_) => {
                    job.prepared = true;
                    *tip_state = TipState::Unverified(tip.clone());
                    job_step(tip_state, job, producer_seq)
                }
            }
        }
        (TipState::Verified(tip), _) => Step::Answer(Answer::Tip(Some(tip.clone()))),
        _ => Step::Request(Request::Create),
    }
}

/// Decides it for looks of which none can be answered yet, while there is no job.
pub(super) fn look_step(tip_state: &mut TipState, looks: &[Look]) -> Step {
    if looks.iter().any(|look| !look.prepared) {
        if let TipState::NoStream(_) = tip_state {
            return Step::Request(Request::Check);
        }
        *tip_state = tip_state.clone().doubted();
    }
    Step::Request(inquiry(tip_state, None).unwrap_or(Request::Create))
}

/// The request that tells more about the log; `None` if what is known suffices.
fn inquiry(tip_state: &TipState, op: Option<&Op>) -> Option<Request> {
    let probe = op.and_then(Op::probe);
    match tip_state {
        TipState::Unknown(suspect) => {
            Some(Request::ReadAll { known: suspect.as_ref().and_then(Tip::in_the_whole), probe })
        }
        TipState::Unverified(tip) => Some(match tip.recall() {
            Some((from, known)) => Request::ReadOn { from, known: Some(known), probe },
            None => Request::Check,
        }),
        TipState::Contradicted(_) => Some(Request::Check),
        TipState::Behind(tip) => {
            Some(Request::ReadOn { from: tip.offset.clone(), known: None, probe })
        }
        TipState::Verified(_) | TipState::NoStream(_) | TipState::Halted(..) => None,
    }
}

/// Whether a look has what it needs.
pub(super) fn is_answered(tip_state: &TipState, look: &Look) -> bool {
    let is_asked = look.prepared || look.need == Need::Known;
    match (tip_state, &look.need) {
        (TipState::Verified(tip), Need::Reaching(offset)) => is_asked || tip.offset >= *offset,
        (TipState::Verified(_) | TipState::Halted(..), _) => is_asked,
        (TipState::NoStream(_), _) => is_asked && !look.creates,
        _ => false,
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

/// Decides a push against a tip (docs/internals/life-of-a-push.md).
pub(super) fn verdict(tip: &Tip, batch: &Batch, backend_id: Option<&BackendId>) -> Verdict {
    if let Some(received) = backend_id
        && *received != tip.backend_id
    {
        let (expected, received) = (tip.backend_id.clone(), received.clone());
        return Verdict::Odd(Answer::BackendIdMismatch { expected, received });
    }
    let made_the_head =
        batch.last == tip.head && tip.made_by == Some((batch.parent, batch.fingerprint));
    if made_the_head {
        return Verdict::Answer(Answer::AcceptedAgain(tip.clone()));
    }
    match batch.parent.cmp(&tip.head) {
        Ordering::Less => Verdict::Answer(Answer::ServerAhead {
            minimum_expected: tip.head + 1,
            provided: batch.first,
        }),
        Ordering::Equal => Verdict::Append,
        Ordering::Greater => Verdict::Odd(Answer::Gap { head: tip.head, parent: batch.parent }),
    }
}

/// What a push comes to for certain, whatever has happened since this was the tip; `None` if only the Sequencer
/// can tell. As long as the backend is the same the head only grows, so what was passed once stays passed.
pub fn reject_if_stale(tip: &Tip, batch: &Batch, backend_id: Option<&BackendId>) -> Option<Answer> {
    // What ends beyond this head may be what has made a later one.
    if backend_id != Some(&tip.backend_id) || batch.last > tip.head {
        return None;
    }
    match verdict(tip, batch, backend_id) {
        Verdict::Answer(answer @ Answer::ServerAhead { .. }) => Some(answer),
        _ => None,
    }
}

impl Request {
    /// Whether the log is asked, and nothing else done.
    pub(super) fn asks(&self) -> bool {
        matches!(self, Self::Check | Self::ReadAll { .. } | Self::ReadOn { .. })
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

    /// If this is a push, it may have landed already: how to find it in what is read.
    fn probe(&self) -> Option<Probe> {
        match self {
            Op::Push { batch, .. } => Some(Probe {
                parent: batch.parent,
                events: batch.events,
                fingerprint: batch.fingerprint,
            }),
            _ => None,
        }
    }
}
