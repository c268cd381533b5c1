//! What a push is answered, and what it costs.

use headwater_core::event::SeqNum;
use headwater_core::sequencer::{Answer, Foresight, Need, Op, reject_if_stale};

use super::rig::{LIMITS, Rig, chain, checked, head, incarnation, rig, tip};

#[test]
fn the_first_push_creates_the_stream() {
    let mut rig = rig();
    assert_eq!(head(&rig.push(chain(0, 2, "a"))), 2);
    assert_eq!(rig.upstream.requests, ["GET", "PUT", "POST"]);
    assert_eq!(rig.log(), chain(0, 2, "a"));
}

#[test]
fn an_accepted_push_costs_one_request_and_one_row() {
    let mut rig = Rig::warm(3);
    assert_eq!(head(&rig.push(chain(3, 2, "a"))), 5);
    assert_eq!(rig.upstream.requests, ["POST"]);
    assert_eq!(rig.recorded, 1);
}

#[test]
fn a_stale_push_behind_an_append_is_refused_at_once() {
    let mut rig = Rig::warm(3);
    let slow = rig.begin_push(chain(3, 1, "slow"));
    let stale = rig.begin_push(chain(2, 1, "stale"));
    assert_eq!(rig.answer(stale), Answer::ServerAhead { minimum_expected: 4, provided: 3 });
    assert_eq!(rig.answers[slow], None);
    assert!(rig.upstream.requests.is_empty(), "the refusal costs a request");
}

#[test]
fn a_foreseen_answer_is_the_answer_of_the_call() {
    let mut rig = Rig::warm(3);
    let push = |events: Vec<String>, backend_id| Op::Push { batch: checked(&events), backend_id };
    let ahead = Answer::ServerAhead { minimum_expected: 4, provided: 3 };
    let again = Answer::AcceptedAgain(rig.core.tip().unwrap().clone());
    let gap = Answer::Gap { head: 3, parent: 7 };
    let mismatch = Answer::BackendIdMismatch { expected: incarnation(1), received: incarnation(2) };
    let follows = chain(3, 1, "a");
    for (op, foreseen) in [
        (push(chain(2, 1, "stale"), None), Foresight::Answer(ahead.clone())),
        (push(chain(0, 3, "warm"), None), Foresight::Answer(again)),
        (push(chain(7, 1, "a"), None), Foresight::AfterALook(gap)),
        (push(follows.clone(), Some(incarnation(2))), Foresight::AfterALook(mismatch)),
    ] {
        assert_eq!(rig.core.foresee(&op), foreseen);
        assert!(rig.upstream.requests.is_empty());
        let (Foresight::Answer(answer) | Foresight::AfterALook(answer)) = foreseen else {
            unreachable!()
        };
        assert_eq!(rig.call(op), answer);
        rig.upstream.requests.clear();
    }
    let op = push(follows.clone(), Some(incarnation(1)));
    assert_eq!(rig.core.foresee(&op), Foresight::Open);
    // An append in flight makes no difference, but a full queue does.
    rig.begin_push(follows.clone());
    assert_eq!(rig.core.foresee(&push(chain(2, 1, "stale"), None)), Foresight::Answer(ahead));
    for _ in 1..LIMITS.queue {
        assert_eq!(rig.core.foresee(&op), Foresight::Open);
        rig.begin_push(follows.clone());
    }
    assert_eq!(rig.core.foresee(&op), Foresight::Answer(Answer::Overloaded));
    assert_eq!(
        rig.core.foresee(&push(chain(3, 99, &"x".repeat(100)), None)),
        Foresight::Answer(Answer::Overloaded)
    );
}

/// A refusal that an old tip proves is the Sequencer's own refusal, now and later.
#[test]
fn a_push_that_an_old_tip_proves_stale_is_refused_by_the_sequencer_too() {
    let mut refusals = 0;
    for (known, later) in [(0, 0), (1, 0), (3, 0), (3, 2), (4, 5)] {
        let mut rig = Rig::warm(known);
        let Answer::Tip(Some(tip)) = rig.call(Op::Look(Need::Known)) else { panic!() };
        for i in 0..later {
            rig.push(chain(known + i, 1, "later"));
        }
        let id = Some(tip.backend_id.clone());
        for (parent, count, text) in combinations(0..8, 1..5, ["warm", "later", "other"]) {
            let events = chain(parent, count, text);
            let batch = checked(&events);
            assert_eq!(reject_if_stale(&tip, &batch, None), None, "without a backend id");
            assert_eq!(
                reject_if_stale(&tip, &batch, Some(&incarnation(9))),
                None,
                "of another backend"
            );
            let Some(early) = reject_if_stale(&tip, &batch, id.as_ref()) else { continue };
            refusals += 1;
            let call = rig.begin(Op::Push { batch, backend_id: id.clone() }, events);
            rig.settle();
            match (early, rig.answer(call)) {
                (
                    Answer::ServerAhead { minimum_expected: early, provided },
                    Answer::ServerAhead { minimum_expected, provided: really },
                ) => assert!(early <= minimum_expected && provided == really),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(refusals > 50, "{refusals}");
}

/// All combinations of the three.
fn combinations(
    parents: std::ops::Range<SeqNum>,
    counts: std::ops::Range<u64>,
    texts: [&'static str; 3],
) -> Vec<(SeqNum, u64, &'static str)> {
    let of = |parent| counts.clone().flat_map(move |count| texts.map(|text| (parent, count, text)));
    parents.flat_map(of).collect()
}

#[test]
fn a_batch_that_is_pushed_again_is_accepted_again_and_not_appended() {
    let mut rig = Rig::warm(3);
    rig.push(chain(3, 2, "a"));
    let again = rig.push(chain(3, 2, "a"));
    assert!(matches!(again, Answer::AcceptedAgain(_)), "{again:?}");
    assert_eq!(head(&again), 5);
    assert_eq!(rig.upstream.requests, ["POST"]);
    assert!(
        matches!(rig.push(chain(3, 2, "other")), Answer::ServerAhead { .. }),
        "other events with the same numbers"
    );
}

#[test]
fn a_batch_that_is_pushed_again_while_in_flight_is_appended_once() {
    let mut rig = Rig::warm(0);
    let calls = [rig.begin_push(chain(0, 1, "a")), rig.begin_push(chain(0, 1, "a"))];
    rig.settle();
    assert!(matches!(
        calls.map(|call| rig.answer(call)),
        [Answer::Accepted(_), Answer::AcceptedAgain(_)]
    ));
    assert_eq!(rig.log().len(), 1);
}

#[test]
fn of_two_pushes_on_one_parent_the_first_is_accepted() {
    let mut rig = Rig::warm(0);
    let [first, second] = [rig.begin_push(chain(0, 1, "a")), rig.begin_push(chain(0, 1, "b"))];
    rig.settle();
    assert_eq!(head(&rig.answer(first)), 1);
    assert_eq!(rig.answer(second), Answer::ServerAhead { minimum_expected: 2, provided: 1 });
}

#[test]
fn a_push_above_the_head_is_a_gap_once_the_log_confirms_it() {
    let mut rig = Rig::warm(3);
    assert_eq!(rig.push(chain(7, 1, "a")), Answer::Gap { head: 3, parent: 7 });
    assert_eq!(rig.upstream.requests, ["GET"]);
    // Another writer appends. Then the same push is no gap.
    rig.upstream.append(3, &chain(3, 4, "direct"));
    assert_eq!(head(&rig.push(chain(7, 1, "a"))), 8);
}

#[test]
fn a_push_for_another_backend_is_refused_once_the_log_confirms_it() {
    let mut rig = Rig::warm(3);
    let push = |id| Op::Push { batch: checked(&chain(1, 1, "stale")), backend_id: Some(id) };
    let mismatch = |expected, received| Answer::BackendIdMismatch { expected, received };
    assert_eq!(rig.call(push(incarnation(2))), mismatch(incarnation(1), incarnation(2)));
    assert_eq!(rig.upstream.requests, ["GET"]);
    // An administrator adopts the other log. Then the first client means the wrong backend.
    rig.upstream.recreate(chain(0, 2, "new"));
    assert_eq!(head(&rig.call(Op::Adopt)), 2);
    assert!(matches!(rig.call(push(incarnation(2))), Answer::ServerAhead { .. }));
    assert_eq!(rig.call(push(incarnation(1))), mismatch(incarnation(2), incarnation(1)));
}

#[test]
fn events_of_another_writer_are_found_and_make_a_push_stale() {
    let mut rig = Rig::warm(3);
    rig.upstream.append(3, &chain(3, 2, "direct"));
    assert_eq!(
        rig.push(chain(3, 1, "a")),
        Answer::ServerAhead { minimum_expected: 6, provided: 4 }
    );
    assert_eq!(rig.upstream.requests, ["POST", "GET"]);
    assert_eq!(head(&rig.push(chain(5, 1, "a"))), 6);
}

#[test]
fn calls_beyond_the_bounds_of_number_and_bytes_are_overloaded() {
    let mut rig = Rig::warm(0);
    let calls: Vec<usize> = (0..6).map(|i| rig.begin_push(chain(0, 1, &i.to_string()))).collect();
    let overloaded = |rig: &Rig, from: usize| {
        calls[from..].iter().filter(|c| rig.answers[**c] == Some(Answer::Overloaded)).count()
    };
    assert_eq!(overloaded(&rig, 0), 2);
    rig.settle();
    assert_eq!(overloaded(&rig, 0), 2, "a call that had a place is overloaded");
    assert_eq!(rig.push(chain(1, 100, &"x".repeat(100))), Answer::Overloaded);
    let looks: Vec<usize> = (0..7).map(|_| rig.begin(Op::Look(Need::Fresh), vec![])).collect();
    let refused =
        looks.iter().filter(|look| rig.answers[**look] == Some(Answer::Overloaded)).count();
    assert_eq!(refused, 2, "looks have no bound");
    let push = rig.begin_push(chain(1, 1, "a"));
    rig.settle();
    assert!(matches!(rig.answer(push), Answer::Accepted(_)), "looks keep a push out");
}

#[test]
fn a_segment_is_sealed_by_the_append_that_makes_it_long_enough() {
    let mut rig = Rig::warm(0);
    let start = tip(rig.call(Op::Look(Need::Known)));
    assert_eq!((start.sealed.offset.0.as_str(), start.seals()), ("-1", false));
    let sealed = |rig: &mut Rig, parent, count, id: &str| {
        let tip = tip(rig.push(chain(parent, count, id)));
        (tip.seals(), tip.sealed.events)
    };
    assert_eq!(sealed(&mut rig, 0, 3, "a"), (false, 0));
    assert_eq!(
        sealed(&mut rig, 3, 3, "b"),
        (true, 6),
        "a segment with enough events is not sealed"
    );
    assert_eq!(sealed(&mut rig, 6, 1, "c"), (false, 6));
    assert_eq!(
        sealed(&mut rig, 7, 1, &"x".repeat(1_000)),
        (true, 8),
        "a segment with enough bytes is not sealed"
    );
    assert_eq!(sealed(&mut rig, 8, 1, "d"), (false, 8));
    let before = tip(rig.call(Op::Look(Need::Known)));
    rig.restart();
    assert_eq!(tip(rig.call(Op::Look(Need::Known))), before);
    assert_eq!(rig.recorded, 5, "a push costs more than one row");
}
