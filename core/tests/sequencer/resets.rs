//! Resets, and the adoption of another log: the two calls that change the incarnation.

use headwater_core::sequencer::{Answer, Halt, Input, Op, Refusal, Request, UpstreamResult};

use super::rig::{Rig, chain, head, incarnation, missing, replaced, rig, tip};
use crate::support::upstream::event;

#[test]
fn an_adopted_incarnation_replaces_the_old_one() {
    for events in [0, 2, 3, 5] {
        let mut rig = Rig::warm(3);
        rig.upstream.recreate(chain(0, events, "new"));
        assert_eq!(rig.push(chain(3, 1, "a")), replaced(2));
        let adopted = tip(rig.call(Op::Adopt));
        assert_eq!((adopted.head, &adopted.backend_id), (events, &incarnation(2)));
        assert_eq!(rig.stored_tip(), Some(&adopted));
        assert_eq!(head(&rig.push(chain(events, 1, "a"))), events + 1);
    }
}

#[test]
fn a_log_that_can_not_be_adopted_is_refused_by_name() {
    let mut rig = rig();
    assert_eq!(rig.call(Op::Adopt), Answer::Tip(None), "there is no log");
    let mut rig = Rig::warm(3);
    rig.upstream.recreate(vec![event(9, 7, "foreign")]);
    assert!(
        matches!(rig.call(Op::Adopt), Answer::Halted(Halt::Broken(_), _)),
        "the log is not a chain"
    );
    // Devices know this id, and would not notice that the log lost events.
    let mut rig = Rig::warm(3);
    rig.upstream.log.as_mut().unwrap().truncate(3);
    let lost =
        Answer::Halted(Halt::WentBackwards { acknowledged: 3, found: 2 }, Some(incarnation(1)));
    assert_eq!(rig.call(Op::Adopt), lost, "the log lost events and kept its id");
    // The adoption of an unchanged log keeps the row.
    let mut rig = Rig::warm(3);
    let row = rig.stored.clone();
    assert_eq!(head(&rig.call(Op::Adopt)), 3);
    assert_eq!(rig.stored, row);
}

#[test]
fn a_reset_is_done_only_after_a_new_stream_was_created() {
    let mut rig = Rig::warm(3);
    let row = rig.stored.clone();
    let reset = rig.begin(Op::Reset, vec![]);
    while let Some(request) = rig.open.clone() {
        match request {
            Request::Delete => {
                // A stranger answers, and the server never receives the request.
                rig.open = None;
                rig.handle(Input::Upstream(UpstreamResult::Missing));
            }
            _ => rig.step(None),
        }
    }
    assert_eq!(rig.answer(reset), Answer::Unavailable);
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store has changed");
    assert_eq!(rig.log().len(), 4);
    assert_ne!(rig.stored, row);
    rig.upstream.log = None;
    assert_eq!(rig.push(chain(4, 1, "a")), missing(4), "the intent to delete is still there");
}

#[test]
fn a_loss_after_a_refused_reset_halts_the_store() {
    let mut rig = Rig::warm(3);
    let reset = rig.begin(Op::Reset, vec![]);
    let refusal = Refusal { status: 403, retry_after: None };
    while let Some(request) = rig.open.clone() {
        match request {
            Request::Delete => {
                rig.open = None;
                rig.handle(Input::Upstream(UpstreamResult::Refused(refusal)));
            }
            _ => rig.step(None),
        }
    }
    assert_eq!(rig.answer(reset), Answer::Refused(refusal));
    assert!(
        rig.stored.as_ref().is_some_and(|stored| !stored.deleting),
        "the stored intent to delete is still there"
    );
    rig.upstream.log = None;
    assert_eq!(rig.push(chain(3, 1, "a")), missing(3));
    assert_eq!(rig.upstream.incarnations, 1);
}

#[test]
fn a_reset_that_a_crash_cut_short_is_finished_without_another_deletion() {
    // The stream was deleted, but not created again: the next push creates it.
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.step(None);
    rig.restart();
    assert_eq!(tip(rig.push(chain(0, 1, "new"))).backend_id, incarnation(2));
    // A new stream was created, and a direct writer has appended to it.
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.step(None);
    rig.upstream.recreate(chain(0, 2, "direct"));
    rig.restart();
    assert_eq!(tip(rig.push(chain(2, 1, "a"))).backend_id, incarnation(2));
    assert_eq!(rig.log(), [chain(0, 2, "direct"), chain(2, 1, "a")].concat());
    // The stream was not deleted.
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.restart();
    assert_eq!(tip(rig.push(chain(3, 1, "a"))).backend_id, incarnation(1));
    // The deletion lands late. The Sequencer keeps the events that it acknowledged meanwhile.
    rig.upstream.log = None;
    assert_eq!(rig.push(chain(4, 1, "a")), missing(4));
}

#[test]
fn a_reset_begins_a_new_incarnation() {
    let mut rig = Rig::warm(3);
    let Answer::Tip(Some(tip)) = rig.call(Op::Reset) else { panic!("no tip") };
    assert_eq!((tip.head, tip.backend_id.0.as_str()), (0, "life-2"));
    assert_eq!(rig.upstream.requests, ["DELETE", "PUT"]);
}
