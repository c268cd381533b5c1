//! Looks at the tip, and the calls that create the stream.

use headwater_core::event::Offset;
use headwater_core::sequencer::{Answer, Need, Op, Request};

use super::rig::{Rig, chain, head, implicit, incarnation, rig, tip};

#[test]
fn a_stream_without_a_header_has_the_implicit_id() {
    let mut rig = rig();
    rig.upstream.log = Some(chain(0, 2, "foreign"));
    let Answer::Tip(Some(tip)) = rig.call(Op::Look(Need::Known)) else { panic!("no tip") };
    assert_eq!((tip.head, tip.backend_id), (2, implicit()));
}

#[test]
fn a_sequencer_that_loses_the_race_to_create_uses_the_stream_that_exists() {
    let mut rig = rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    rig.step(None); // there is no stream
    rig.upstream.perform(&Request::Create, &[], 0);
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 1);
    assert_eq!(rig.upstream.incarnations, 1);
}

#[test]
fn only_the_call_that_creates_the_stream_hears_so() {
    let created = |rig: &Rig, call| tip(rig.answer(call)).created;
    let mut rig = rig();
    let calls = [(); 3].map(|()| rig.begin(Op::Ensure, vec![]));
    rig.settle();
    assert_eq!(calls.map(|call| created(&rig, call)), [true, false, false]);
    assert!(!tip(rig.call(Op::Ensure)).created);
    assert!(!rig.core.tip().expect("a tip").created, "the tip itself keeps nothing of it");
    // A push that needs the stream creates it for itself.
    let mut rig = self::rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    let ensure = rig.begin(Op::Ensure, vec![]);
    rig.settle();
    assert_eq!(tip(rig.answer(push)).head, 1);
    assert!(!created(&rig, ensure));
}

#[test]
fn looks_are_answered_together_and_delay_no_push_by_more_than_one_request() {
    let mut rig = Rig::warm(3);
    let looks = [(); 4].map(|()| rig.begin(Op::Look(Need::Fresh), vec![]));
    let push = rig.begin_push(chain(3, 1, "a"));
    let stale = rig.begin_push(chain(1, 1, "stale"));
    assert_eq!(
        rig.answer(stale),
        Answer::ServerAhead { minimum_expected: 4, provided: 2 },
        "the refusal waits"
    );
    rig.step(None); // the look that is open
    assert_eq!(rig.upstream.requests, ["GET"]);
    rig.step(None);
    assert_eq!(head(&rig.answer(push)), 4);
    assert_eq!(rig.upstream.requests, ["GET", "POST"]);
    // The first look had its own request. The append answered the looks that came meanwhile.
    assert_eq!(looks.map(|look| head(&rig.answer(look))), [3, 4, 4, 4]);
    assert_eq!(rig.open, None);
}

#[test]
fn a_stream_that_is_being_created_is_not_taken_for_one_without_a_header() {
    let mut rig = rig();
    rig.upstream.perform(&Request::Create, &[], 0);
    let header = rig.upstream.log.replace(Vec::new());
    let look = rig.begin(Op::Look(Need::Known), vec![]);
    rig.step(None); // the stream is there, but empty
    rig.upstream.log = header;
    rig.settle();
    let Answer::Tip(Some(tip)) = rig.answer(look) else { panic!("no tip") };
    assert_eq!(tip.backend_id, incarnation(1));
}

#[test]
fn a_look_at_a_store_without_a_stream_creates_none() {
    let mut rig = rig();
    assert_eq!(rig.call(Op::Look(Need::Fresh)), Answer::Tip(None));
    assert_eq!(rig.call(Op::Look(Need::Known)), Answer::Tip(None));
    assert!(rig.upstream.log.is_none());
    assert_eq!(head(&rig.call(Op::Ensure)), 0);
    assert!(rig.upstream.log.is_some());
}

#[test]
fn a_look_that_must_reach_an_offset_asks_the_upstream_only_if_the_tip_is_below_it() {
    let mut rig = Rig::warm(3);
    let tail = tip(rig.call(Op::Look(Need::Known))).offset;
    assert_eq!(head(&rig.call(Op::Look(Need::Reaching(tail.clone())))), 3);
    assert!(rig.upstream.requests.is_empty());
    // A direct writer appends.
    rig.upstream.append(3, &chain(3, 2, "direct"));
    assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3);
    let beyond = Offset(format!("{}x", tail.0));
    let caught_up = tip(rig.call(Op::Look(Need::Reaching(beyond))));
    assert_eq!((caught_up.head, caught_up.events, caught_up.seals()), (5, 5, true));
    assert_eq!(rig.upstream.requests, ["GET"]);
    assert_eq!(rig.stored_tip(), Some(&caught_up));
}

#[test]
fn a_sequencer_that_stopped_within_a_reset_tells_no_tip_that_it_has_not_verified() {
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.step_to(&Request::Create);
    rig.upstream.perform(&Request::Create, &[], 0); // no row says that the new stream exists
    rig.restart();
    let told = tip(rig.call(Op::Look(Need::Known)));
    assert_eq!((told.head, told.backend_id), (0, incarnation(2)));
}
