//! Logs that make the Sequencer halt the store, and what ends a halt.

use headwater_core::event::Offset;
use headwater_core::sequencer::{Answer, Halt, Input, Need, Op, Tail, Ticket, UpstreamResult};

use super::rig::{Rig, chain, head, incarnation, missing, replaced, rig};
use crate::support::upstream::event;

#[test]
fn a_missing_stream_halts_the_store_until_it_is_back() {
    for restarts in [false, true] {
        let mut rig = Rig::warm(3);
        let (log, row) = (rig.upstream.log.take(), rig.stored.clone());
        if restarts {
            rig.restart();
        }
        assert_eq!(rig.push(chain(3, 1, "a")), missing(3));
        assert_eq!(rig.push(chain(0, 1, "new")), missing(3), "a new log is begun");
        assert_eq!(rig.call(Op::Ensure), missing(3), "a live read begins a new log");
        assert_eq!(rig.call(Op::Look(Need::Fresh)), missing(3));
        assert_eq!(rig.call(Op::Adopt), missing(3), "an adoption ends the halt");
        assert!(rig.upstream.log.is_none());
        assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3, "the known tip is lost");
        assert_eq!(rig.stored, row, "the row is lost");
        rig.upstream.log = log;
        assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store does not go on by itself");
        assert_eq!(rig.core.halted(), None);
    }
}

#[test]
fn another_incarnation_of_any_length_halts_the_store() {
    for events in [0, 2, 3, 5] {
        for restarts in [false, true] {
            let mut rig = Rig::warm(3);
            let row = rig.stored.clone();
            let log = rig.upstream.log.clone();
            rig.upstream.recreate(chain(0, events, "new"));
            if restarts {
                rig.restart();
            }
            assert_eq!(rig.call(Op::Look(Need::Fresh)), replaced(2));
            assert_eq!(rig.push(chain(3, 1, "a")), replaced(2));
            assert_eq!(rig.stored, row, "the row is lost");
            rig.upstream.log = log;
            assert_eq!(
                head(&rig.push(chain(3, 1, "a"))),
                4,
                "the store does not go on with its own log"
            );
        }
    }
}

#[test]
fn a_halted_store_says_so_while_the_next_look_is_under_way_and_until_it_is_reset() {
    let mut rig = Rig::warm(3);
    rig.upstream.recreate(chain(0, 2, "new"));
    assert_eq!(rig.call(Op::Look(Need::Fresh)), replaced(2));
    rig.core.handle(Input::Call(Ticket(1_000), Op::Look(Need::Fresh)));
    assert_eq!(rig.core.halted(), Some(replaced(2)));

    let mut rig = Rig::warm(3);
    rig.upstream.recreate(chain(0, 2, "new"));
    assert_eq!(rig.call(Op::Look(Need::Fresh)), replaced(2));
    rig.call(Op::Reset);
    assert_eq!(rig.core.halted(), None);
}

#[test]
fn a_log_that_has_moved_on_ends_no_halt_before_it_is_read() {
    let mut rig = Rig::warm(3);
    // A tip of a read of the whole log: the next look only checks the id and the tail.
    rig.stored = None;
    rig.restart();
    assert_eq!(head(&rig.call(Op::Look(Need::Fresh))), 3);
    rig.upstream.recreate(chain(0, 2, "new"));
    assert_eq!(rig.call(Op::Look(Need::Fresh)), replaced(2));
    rig.begin(Op::Look(Need::Fresh), Vec::new());
    let tail = Tail { offset: Offset("00000099".into()), closed: false };
    rig.step(Some(UpstreamResult::Checked(Some(incarnation(1)), tail)));
    assert_eq!(rig.core.halted(), Some(replaced(2)));
}

#[test]
fn a_log_with_the_same_id_and_other_events_halts_the_store() {
    for length in [3, 5] {
        let mut rig = Rig::warm(2);
        rig.push(chain(2, 1, "a"));
        let header = rig.upstream.log.as_ref().unwrap()[0].clone();
        rig.upstream.log = Some([vec![header], chain(0, length, "warm")].concat());
        rig.restart();
        let altered = Answer::Halted(Halt::Altered(3), Some(incarnation(1)));
        assert_eq!(rig.push(chain(3, 1, "b")), altered);
    }
}

#[test]
fn a_trimmed_log_halts_the_store() {
    let mut rig = rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    rig.step(Some(UpstreamResult::Gone));
    rig.settle();
    assert_eq!(rig.answer(push), Answer::Halted(Halt::Trimmed, None));
}

#[test]
fn one_look_at_a_halted_store_serves_all_calls_and_the_pauses_grow() {
    let mut rig = Rig::warm(3);
    rig.upstream.log = None;
    rig.push(chain(3, 1, "a"));
    let mut pauses = Vec::new();
    for _ in 0..7 {
        rig.upstream.requests.clear();
        let calls = [
            rig.begin_push(chain(3, 1, "a")),
            rig.begin_push(chain(3, 1, "b")),
            rig.begin(Op::Ensure, vec![]),
        ];
        pauses.push(rig.pause);
        rig.step(None);
        // The calls that came while the look was under way have a look of their own.
        rig.settle();
        assert!(rig.upstream.requests.len() <= 2, "{:?}", rig.upstream.requests);
        assert_eq!(calls.map(|call| rig.answer(call)), [missing(3), missing(3), missing(3)]);
    }
    assert!(pauses.is_sorted() && pauses.last() == Some(&5), "{pauses:?}");
}

#[test]
fn a_stream_that_is_not_json_halts_the_store() {
    let mut rig = rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    while rig.open.take().is_some() {
        rig.handle(Input::Upstream(UpstreamResult::Unreadable));
    }
    assert!(matches!(rig.answer(push), Answer::Halted(Halt::Broken(_), None)));
}

#[test]
fn a_log_that_went_backwards_halts_the_store_until_it_is_restored() {
    let mut rig = Rig::warm(3);
    let lost = rig.upstream.log.as_mut().unwrap().pop().unwrap();
    rig.restart();
    let halted =
        Answer::Halted(Halt::WentBackwards { acknowledged: 3, found: 2 }, Some(incarnation(1)));
    assert_eq!(rig.push(chain(3, 1, "a")), halted);
    assert_eq!(rig.push(chain(2, 1, "b")), halted, "a push that fits the shorter log is accepted");
    assert_eq!(rig.log().len(), 2);
    assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3, "the known tip is lost");
    assert_eq!(rig.core.halted(), Some(halted), "the core does not report the halt");
    rig.upstream.log.as_mut().unwrap().push(lost);
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store does not go on by itself");
    assert_eq!(rig.core.halted(), None);
}

#[test]
fn a_log_that_is_not_a_chain_halts_the_store_until_it_is_reset() {
    let mut rig = Rig::warm(3);
    rig.upstream.log.as_mut().unwrap().push(event(9, 7, "foreign"));
    rig.restart();
    let Answer::Halted(Halt::Broken(place), _) = rig.push(chain(3, 1, "a")) else {
        panic!("not halted")
    };
    assert_eq!(place, "event 9 has the parent 7, but follows event 3");
    assert_eq!(head(&rig.call(Op::Reset)), 0);
    assert_eq!(head(&rig.push(chain(0, 1, "a"))), 1);
}
