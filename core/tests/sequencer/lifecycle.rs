//! Archived stores, and stores that were deleted for good.

use headwater_core::sequencer::{
    Answer, Foresight, Input, Need, News, Op, Refusal, Request, UpstreamResult,
};

use super::rig::{Rig, chain, checked, closed, head, incarnation, missing, rig, tip};

fn delete(n: u32) -> Op {
    Op::Delete(incarnation(n))
}

fn push(backend: u32, events: &[String]) -> Op {
    Op::Push { batch: checked(events), backend_id: Some(incarnation(backend)) }
}

#[test]
fn an_archived_store_refuses_pushes_from_memory_and_can_be_read() {
    let mut rig = Rig::warm(3);
    let archived = tip(rig.call(Op::Close(None)));
    assert_eq!((archived.head, archived.closed), (3, true));
    assert_eq!(tip(rig.call(Op::Close(None))), archived, "a second close is no success");
    rig.upstream.requests.clear();
    for events in [chain(3, 1, "a"), chain(1, 1, "stale"), chain(7, 1, "gap")] {
        assert_eq!(closed(rig.push(events)), archived);
    }
    let op = push(1, &chain(3, 1, "a"));
    assert_eq!(rig.core.foresee(&op), Foresight::Answer(Answer::Closed(archived.clone())));
    // An acknowledgement that was lost heals.
    assert_eq!(rig.push(chain(0, 3, "warm")), Answer::AcceptedAgain(archived));
    assert!(rig.upstream.requests.is_empty(), "a push asks the upstream");
    assert!(tip(rig.call(Op::Look(Need::Fresh))).closed);
    assert!(tip(rig.call(Op::Ensure)).closed);
    assert!(tip(rig.call(Op::Adopt)).closed, "an adoption opens the store");
    rig.restart();
    assert_eq!(closed(rig.push(chain(3, 1, "a"))).head, 3, "a restart opens the store");
    assert_eq!(rig.upstream.requests.len(), 1, "the first contact needs more than a look");
    assert_eq!(rig.log().len(), 3);
    assert_eq!(tip(rig.call(Op::Reset)).backend_id, incarnation(2));
    assert_eq!(head(&rig.push(chain(0, 1, "new"))), 1);
}

#[test]
fn a_stream_that_somebody_else_closed_is_an_archived_store() {
    for appended in [0, 2] {
        let mut rig = Rig::warm(3);
        rig.upstream.append(3, &chain(3, appended, "direct"));
        rig.upstream.closed = true;
        assert_eq!(closed(rig.push(chain(3, 1, "a"))).head, 3 + appended);
        assert_eq!(rig.core.halted(), None);
    }
    // A late append of this very push landed before the close.
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.upstream.append(3, &chain(3, 1, "a"));
    rig.upstream.closed = true;
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 4);
}

#[test]
fn an_archived_store_holds_what_a_direct_writer_appended_before_the_close() {
    let mut rig = Rig::warm(3);
    let close = rig.begin(Op::Close(None), vec![]);
    rig.step_to(&Request::Close);
    rig.upstream.append(3, &chain(3, 2, "direct"));
    rig.settle();
    let archived = tip(rig.answer(close));
    assert_eq!((archived.head, archived.closed), (5, true));
}

#[test]
fn a_close_without_an_answer_is_looked_for_and_tried_again() {
    let mut rig = Rig::warm(3);
    for has_landed in [false, true] {
        let close = rig.begin(Op::Close(None), vec![]);
        rig.step_to(&Request::Close);
        if has_landed {
            rig.step(Some(UpstreamResult::Failed));
        } else {
            rig.lose_request();
        }
        rig.settle();
        assert!(tip(rig.answer(close)).closed);
        rig.upstream.closed = false;
        rig.restart();
    }
    // The answer says closed, and the stream does not.
    let close = rig.begin(Op::Close(None), vec![]);
    while let Some(request) = rig.open.clone() {
        if request == Request::Close {
            rig.open = None;
            rig.handle(Input::Upstream(UpstreamResult::Closed));
        } else {
            rig.step(None);
        }
    }
    assert_eq!(rig.answer(close), Answer::Unavailable);
    let refusal = Refusal { status: 405, retry_after: None };
    let close = rig.begin(Op::Close(None), vec![]);
    rig.step_to(&Request::Close);
    rig.open = None;
    rig.handle(Input::Upstream(UpstreamResult::Refused(refusal)));
    assert_eq!(rig.answer(close), Answer::Refused(refusal));
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "a refused close archives the store");
}

#[test]
fn a_store_without_a_stream_can_be_neither_archived_nor_deleted() {
    for op in [Op::Close(None), delete(1)] {
        let mut rig = rig();
        assert_eq!(rig.call(op), Answer::Tip(None));
        assert_eq!(rig.upstream.incarnations, 0, "a stream was created");
    }
}

#[test]
fn a_deleted_store_is_like_one_that_was_never_used() {
    let mut rig = Rig::warm(3);
    assert_eq!(rig.call(delete(1)), Answer::Deleted);
    assert_eq!(rig.upstream.requests, ["GET", "DELETE", "GET"]);
    assert_eq!((&rig.stored, &rig.upstream.log), (&None, &None));
    assert_eq!(rig.published, [News::Deleted]);
    for restarts in [false, true] {
        if restarts {
            rig.restart();
        }
        assert_eq!(rig.call(Op::Look(Need::Fresh)), Answer::Tip(None));
        assert_eq!(rig.call(delete(1)), Answer::Tip(None), "the deletion is repeated");
    }
    // A device of the deleted store is told, and no event of it lands.
    let events = chain(3, 1, "old");
    let call = rig.begin(push(1, &events), events);
    rig.settle();
    let mismatch = Answer::BackendIdMismatch { expected: incarnation(2), received: incarnation(1) };
    assert_eq!(rig.answer(call), mismatch);
    assert!(rig.log().is_empty());
    assert_eq!(head(&rig.push(chain(0, 1, "new"))), 1);
    assert_eq!(rig.call(delete(1)), mismatch, "another incarnation is deleted");
    assert_eq!(rig.log().len(), 1);
    assert_eq!(rig.call(delete(2)), Answer::Deleted);
}

#[test]
fn an_incarnation_that_came_unseen_is_not_deleted() {
    let mut rig = Rig::warm(3);
    rig.upstream.recreate(chain(0, 2, "direct"));
    assert!(matches!(rig.call(delete(1)), Answer::Halted(..)));
    assert_eq!(rig.log().len(), 2);
}

#[test]
fn a_deletion_that_a_crash_cut_short_can_be_repeated() {
    // Before its request, and after the stream is gone.
    let mut rig = Rig::warm(3);
    rig.begin(delete(1), vec![]);
    rig.step_to(&Request::Delete);
    rig.restart();
    assert_eq!(rig.call(delete(1)), Answer::Deleted);
    let mut rig = Rig::warm(3);
    rig.begin(delete(1), vec![]);
    rig.step_to(&Request::Delete);
    rig.step(None);
    rig.restart();
    assert_eq!(rig.call(delete(1)), Answer::Deleted);
    assert_eq!(rig.stored, None);
    // A push goes first: it begins a new incarnation.
    let mut rig = Rig::warm(3);
    rig.begin(delete(1), vec![]);
    rig.step_to(&Request::Delete);
    rig.step(None);
    rig.restart();
    assert_eq!(tip(rig.push(chain(0, 1, "new"))).backend_id, incarnation(2));
    assert!(matches!(rig.call(delete(1)), Answer::BackendIdMismatch { .. }));
}

#[test]
fn a_foreign_answer_to_a_deletion_deletes_nothing() {
    for foreign in [UpstreamResult::Missing, UpstreamResult::Deleted] {
        let mut rig = Rig::warm(3);
        let call = rig.begin(delete(1), vec![]);
        while let Some(request) = rig.open.clone() {
            if request == Request::Delete {
                rig.open = None;
                rig.handle(Input::Upstream(foreign.clone()));
            } else {
                rig.step(None);
            }
        }
        assert_eq!(rig.answer(call), Answer::Unavailable);
        assert_eq!(rig.stored_tip().map(|tip| tip.head), Some(3));
        // All goes on as before, and the repeated deletion finishes.
        assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4);
        assert_eq!(rig.call(delete(1)), Answer::Deleted);
    }
}

#[test]
fn a_loss_after_a_refused_deletion_halts_the_store() {
    let mut rig = Rig::warm(3);
    let call = rig.begin(delete(1), vec![]);
    rig.step_to(&Request::Delete);
    rig.open = None;
    let refusal = Refusal { status: 403, retry_after: None };
    rig.handle(Input::Upstream(UpstreamResult::Refused(refusal)));
    assert_eq!(rig.answer(call), Answer::Refused(refusal));
    rig.upstream.log = None;
    rig.restart();
    assert_eq!(rig.push(chain(3, 1, "a")), missing(3));
}

#[test]
fn a_close_that_names_another_incarnation_closes_nothing() {
    let mut rig = Rig::warm(3);
    let expected = Answer::BackendIdMismatch { expected: incarnation(1), received: incarnation(7) };
    assert_eq!(rig.call(Op::Close(Some(incarnation(7)))), expected);
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store is closed");
    assert!(tip(rig.call(Op::Close(Some(incarnation(1))))).closed);
}
