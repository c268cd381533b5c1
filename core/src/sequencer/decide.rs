//! The next step of a job or a look, given the tip state. The verdict on a push.

use std::cmp::Ordering;

use super::tip_state::TipState;
use super::{Answer, Halt, Job, Look, Need, Op, Request, Tip};
use crate::batch::Batch;
use crate::event::BackendId;
use crate::log::Probe;

/// The next step of the Sequencer's work.
pub(super) enum Step {
    /// Answer the job at the front.
    Answer(Answer),
    Request(Request),
}

/// The next step of the job at the front.
pub(super) fn job_step(tip_state: &mut TipState, job: &mut Job, producer_seq: u64) -> Step {
    match (&job.op, &*tip_state) {
        (Op::Reset, _) if !job.prepared => return Step::Request(Request::Delete),
        (Op::Adopt, _) if !job.prepared => {
            job.prepared = true;
            *tip_state = TipState::Unknown(tip_state.clone().into_tip());
        }
        (Op::Close(_) | Op::Delete(_), TipState::NoStream(_)) if !job.asked => {
            return Step::Request(Request::Check);
        }
        (Op::Push { .. }, TipState::Halted(..)) | (Op::Close(_) | Op::Delete(_), _)
            if !job.asked =>
        {
            *tip_state = tip_state.clone().unverified();
        }
        _ => {}
    }
    if let Some(request) = inquiry(tip_state, Some(&job.op)) {
        return Step::Request(request);
    }
    match (&*tip_state, &job.op) {
        (TipState::Halted(halt, tip), _) => Step::Answer(halted_answer(halt, tip.as_ref())),
        (TipState::NoStream(Some(tip)), Op::Delete(backend_id))
            if tip.backend_id == *backend_id =>
        {
            Step::Answer(Answer::Deleted)
        }
        (TipState::NoStream(_), Op::Adopt | Op::Close(_) | Op::Delete(_)) => {
            Step::Answer(Answer::Tip(None))
        }
        (TipState::Verified(tip), Op::Close(Some(backend_id))) if tip.backend_id != *backend_id => {
            Step::Answer(mismatch(tip, backend_id))
        }
        (TipState::Verified(tip), Op::Close(_)) if !tip.closed => Step::Request(Request::Close),
        (TipState::Verified(tip), Op::Delete(backend_id)) if tip.backend_id == *backend_id => {
            Step::Request(Request::Delete)
        }
        (TipState::Verified(tip), Op::Delete(backend_id)) => {
            Step::Answer(mismatch(tip, backend_id))
        }
        (TipState::Verified(tip), Op::Push { batch, backend_id }) => {
            match verdict(tip, batch, backend_id.as_ref()) {
                Verdict::Answer(answer) => Step::Answer(answer),
                Verdict::Append => Step::Request(Request::Append {
                    ticket: job.ticket,
                    parent: batch.parent,
                    producer_seq,
                }),
                Verdict::Unconfirmed(answer) if job.prepared => Step::Answer(answer),
                Verdict::Unconfirmed(_) => {
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

/// The next step of looks that can't be answered yet, while there is no job.
pub(super) fn look_step(tip_state: &mut TipState, looks: &[Look]) -> Step {
    if looks.iter().any(|look| !look.prepared) {
        if let TipState::NoStream(_) = tip_state {
            return Step::Request(Request::Check);
        }
        *tip_state = tip_state.clone().unverified();
    }
    Step::Request(inquiry(tip_state, None).unwrap_or(Request::Create))
}

/// The request that tells more of the log; `None` if the tip state suffices.
fn inquiry(tip_state: &TipState, op: Option<&Op>) -> Option<Request> {
    let probe = op.and_then(Op::probe);
    match tip_state {
        TipState::Unknown(tip) => {
            Some(Request::ReadAll { known: tip.as_ref().and_then(Tip::known_from_start), probe })
        }
        TipState::Unverified(tip) => Some(match tip.verification_read() {
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

/// Whether the tip state meets a look's need.
pub(super) fn is_satisfied(tip_state: &TipState, look: &Look) -> bool {
    let is_asked = look.prepared || look.need == Need::Known;
    match (tip_state, &look.need) {
        (TipState::Verified(tip), Need::Reaching(offset)) => is_asked || tip.offset >= *offset,
        (TipState::Verified(_) | TipState::Halted(..), _) => is_asked,
        (TipState::NoStream(_), _) => is_asked && !look.creates,
        _ => false,
    }
}

/// The answer of a halted store.
pub(super) fn halted_answer(halt: &Halt, tip: Option<&Tip>) -> Answer {
    Answer::Halted(halt.clone(), tip.map(|tip| tip.backend_id.clone()))
}

/// The decision on a push.
pub(super) enum Verdict {
    /// The batch follows the head.
    Append,
    Answer(Answer),
    /// The answer if the upstream confirms the tip. Either the client is wrong, or the Sequencer has missed what
    /// another writer did.
    Unconfirmed(Answer),
}

/// Decides a push against a tip (docs/internals/life-of-a-push.md).
pub(super) fn verdict(tip: &Tip, batch: &Batch, backend_id: Option<&BackendId>) -> Verdict {
    if let Some(received) = backend_id
        && *received != tip.backend_id
    {
        return Verdict::Unconfirmed(mismatch(tip, received));
    }
    let made_the_head =
        batch.last == tip.head && tip.made_by == Some((batch.parent, batch.fingerprint));
    if made_the_head {
        return Verdict::Answer(Answer::AcceptedAgain(tip.clone()));
    }
    if tip.closed {
        return Verdict::Answer(Answer::Closed(tip.clone()));
    }
    match batch.parent.cmp(&tip.head) {
        Ordering::Less => Verdict::Answer(Answer::ServerAhead {
            minimum_expected: tip.head + 1,
            provided: batch.first,
        }),
        Ordering::Equal => Verdict::Append,
        Ordering::Greater => {
            Verdict::Unconfirmed(Answer::Gap { head: tip.head, parent: batch.parent })
        }
    }
}

fn mismatch(tip: &Tip, received: &BackendId) -> Answer {
    Answer::BackendIdMismatch { expected: tip.backend_id.clone(), received: received.clone() }
}

/// The refusal of a push that an old tip proves stale; `None` if only the Sequencer can tell. The head of a backend only
/// grows, therefore a stale push stays stale.
pub fn reject_if_stale(tip: &Tip, batch: &Batch, backend_id: Option<&BackendId>) -> Option<Answer> {
    // A batch that ends beyond this head may have made a later head.
    if backend_id != Some(&tip.backend_id) || batch.last > tip.head {
        return None;
    }
    match verdict(tip, batch, backend_id) {
        Verdict::Answer(answer @ Answer::ServerAhead { .. }) => Some(answer),
        _ => None,
    }
}

impl Request {
    /// Whether the request only reads the log.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::Check | Self::ReadAll { .. } | Self::ReadOn { .. })
    }
}

impl Op {
    /// The bytes that this call holds while it waits.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Op::Push { batch, .. } => batch.bytes,
            _ => 0,
        }
    }

    /// How a read finds the batch of a push, which may have landed already.
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
