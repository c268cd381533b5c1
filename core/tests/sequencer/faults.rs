//! Requests without a clear result, restarts, and logs that moved: no event is lost or doubled, and no store halts.

use headwater_core::event::Offset;
use headwater_core::sequencer::{Answer, Halt, Input, Need, Op, Refusal, Request, UpstreamResult};

use super::rig::{Rig, chain, checked, head, incarnation, rig, tip};

#[test]
fn a_lost_acknowledgement_is_found_in_the_log() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 2, "a"));
    rig.step(Some(UpstreamResult::Failed)); // the batch landed, but the answer is lost
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 5);
    assert_eq!(rig.upstream.requests, ["POST", "GET"], "the log is not read before another append");
    assert_eq!(rig.log().len(), 5);
}

#[test]
fn a_batch_with_an_unknown_outcome_is_found_in_the_whole_log_behind_other_events() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 2, "a"));
    rig.step(Some(UpstreamResult::Failed)); // the batch landed, but the answer is lost
    rig.upstream.append(5, &chain(5, 1, "direct"));
    rig.step(Some(UpstreamResult::Gone)); // a foreign answer
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 6);
    assert_eq!(rig.upstream.requests, ["POST", "GET", "CHECK", "GET"]);
}

#[test]
fn a_lost_append_is_repeated_after_a_look() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 2, "a"));
    rig.lose_request();
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 5);
    assert_eq!(rig.upstream.requests, ["GET", "POST"]);
}

#[test]
fn an_append_that_lands_late_is_found_when_the_fence_refuses_its_repetition() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.lose_request();
    rig.step(None); // the look finds nothing
    rig.upstream.append(3, &chain(3, 1, "a")); // the first append lands
    rig.settle(); // the second append meets the fence, and the next look finds the first
    assert_eq!(head(&rig.answer(push)), 4);
    assert_eq!(rig.log().len(), 4);
}

#[test]
fn all_calls_that_wait_are_answered_when_the_upstream_stays_away() {
    let mut rig = Rig::warm(3);
    let calls = [
        rig.begin_push(chain(3, 1, "a")),
        rig.begin_push(chain(3, 1, "b")),
        rig.begin(Op::Look(Need::Fresh), vec![]),
    ];
    for _ in 0..3 {
        rig.lose_request();
    }
    assert!(calls.iter().all(|call| rig.answer(*call) == Answer::Unavailable));
    assert_eq!(rig.open, None);
    assert_eq!(
        head(&rig.push(chain(3, 1, "a"))),
        4,
        "the store does not go on when the upstream is back"
    );
}

#[test]
fn a_conflict_that_no_event_explains_ends_as_unavailable() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    while let Some(request) = &rig.open {
        // Every append conflicts, and no look ever finds a new event.
        let appends = matches!(request, Request::Append { .. });
        if appends {
            rig.open = None;
            rig.handle(Input::Upstream(UpstreamResult::Conflict));
        } else {
            rig.step(None);
        }
    }
    assert_eq!(rig.answer(push), Answer::Unavailable, "the batch may have landed");
}

#[test]
fn after_a_restart_one_look_verifies_the_tip() {
    let mut rig = Rig::warm(3);
    rig.restart();
    assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3);
    assert!(rig.upstream.requests.is_empty(), "a look for the known tip costs a request");
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4);
    assert_eq!(head(&rig.push(chain(4, 1, "b"))), 5);
    assert_eq!(rig.upstream.requests, ["GET", "POST", "POST"]);
}

#[test]
fn a_crash_between_append_and_record_neither_loses_nor_doubles_an_event() {
    let mut rig = Rig::warm(3);
    rig.begin_push(chain(3, 2, "a"));
    let before = rig.stored.clone();
    rig.step(None);
    rig.stored = before; // the row never became durable
    rig.restart();
    assert_eq!(head(&rig.push(chain(3, 2, "a"))), 5, "the batch is not recognized");
    assert_eq!(rig.log().len(), 5);
}

#[test]
fn lost_rows_are_read_back_from_the_log() {
    let mut rig = Rig::warm(3);
    rig.stored = None;
    rig.restart();
    let Answer::Tip(Some(tip)) = rig.call(Op::Look(Need::Known)) else { panic!("no tip") };
    assert_eq!((tip.head, tip.events, tip.backend_id.0.as_str()), (3, 3, "life-1"));
    assert_eq!(rig.stored_tip(), Some(&tip));
}

#[test]
fn one_foreign_404_or_410_costs_neither_the_rows_nor_a_halt() {
    for stray in [UpstreamResult::Missing, UpstreamResult::Gone] {
        let mut rig = Rig::warm(3);
        let row = rig.stored.clone();
        let push = rig.begin_push(chain(3, 1, "a"));
        rig.open = None;
        rig.handle(Input::Upstream(stray));
        assert_eq!(rig.stored, row);
        rig.settle();
        assert_eq!(head(&rig.answer(push)), 4);
        assert_eq!(rig.recorded, 1, "the log was read from the start");
    }
}

#[test]
fn a_log_that_was_moved_with_its_id_goes_on_with_other_offsets() {
    let mut rig = Rig::warm(2);
    rig.push(chain(2, 1, "a"));
    rig.restart();
    let push = rig.begin_push(chain(3, 1, "b"));
    rig.step(Some(UpstreamResult::Refused(Refusal { status: 400, retry_after: None }))); // the offset has another server's form
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 4);
}

#[test]
fn an_upstream_that_contradicts_itself_is_unavailable_after_a_few_requests() {
    // Every read is answered "missing", and every creation "exists".
    let mut rig = rig();
    rig.upstream.perform(&Request::Create, &[], 0);
    rig.upstream.requests.clear();
    for op in [Op::Ensure, Op::Push { batch: checked(&chain(0, 1, "a")), backend_id: None }] {
        rig.upstream.requests.clear();
        let call = rig.begin(op, chain(0, 1, "a"));
        while let Some(request) = rig.open.clone() {
            rig.step((request != Request::Create).then_some(UpstreamResult::Missing));
        }
        assert_eq!(rig.answer(call), Answer::Unavailable);
        assert!(rig.upstream.requests.len() <= 6, "{:?}", rig.upstream.requests);
    }
}

#[test]
fn an_append_without_confirmation_is_looked_for_in_the_log() {
    let mut rig = Rig::warm(3);
    // The server has seen this sequence already. It answers 204, "duplicate", and appends nothing.
    rig.upstream.admission.producer = Some((rig.epoch, 7));
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4);
    assert_eq!(rig.upstream.requests, ["POST", "GET", "POST"]);
    assert_eq!(rig.log().len(), 4);
}

#[test]
fn an_append_that_lands_before_the_known_tail_is_not_acknowledged() {
    let mut rig = Rig::warm(5);
    rig.upstream.log.as_mut().unwrap().truncate(2); // an operator restores an older state
    let answer = rig.push(chain(5, 1, "a"));
    assert!(matches!(answer, Answer::Halted(Halt::Broken(_), _)), "{answer:?}");
}

#[test]
fn the_producer_sequence_counts_appends_since_the_last_look() {
    let mut rig = Rig::warm(3); // with the append that follows the creation
    let producer_seq = |rig: &mut Rig, parent| {
        rig.begin_push(chain(parent, 1, "a"));
        let Some(Request::Append { producer_seq, .. }) = rig.open else { panic!("{:?}", rig.open) };
        producer_seq
    };
    assert_eq!(producer_seq(&mut rig, 3), 1);
    rig.settle();
    assert_eq!(producer_seq(&mut rig, 4), 2);
    rig.step(Some(UpstreamResult::Failed)); // an unknown outcome
    rig.settle();
    assert_eq!(producer_seq(&mut rig, 5), 0);
}

#[test]
fn a_log_that_can_not_be_read_from_an_offset_is_read_from_the_start() {
    for odd in [
        UpstreamResult::Unreadable,
        UpstreamResult::Refused(Refusal { status: 400, retry_after: None }),
    ] {
        let mut rig = Rig::warm(3);
        rig.upstream.append(3, &chain(3, 1, "direct"));
        let push = rig.begin_push(chain(4, 1, "a"));
        rig.step(Some(odd)); // the result of the look from the last known offset
        rig.settle();
        assert_eq!(head(&rig.answer(push)), 5);
    }
}

#[test]
fn a_tail_below_the_known_one_alone_does_not_halt_the_store() {
    let mut rig = Rig::warm(3);
    rig.restart();
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.step(Some(UpstreamResult::Checked(Some(incarnation(1)), Offset("00000002".into()).into())));
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 4);
}

#[test]
fn a_rebuilt_index_has_another_id() {
    let mut rig = Rig::warm(3);
    let before = tip(rig.push(chain(3, 1, "a")));
    rig.stored = None;
    rig.restart();
    let adopted = tip(rig.push(chain(4, 1, "b")));
    assert_eq!(adopted.backend_id, before.backend_id);
    assert_ne!(adopted.sealed.index, before.sealed.index);
    assert_eq!(adopted.sealed.events, 5, "the events are not counted from the start");
}
