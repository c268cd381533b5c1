//! What the Sequencer publishes to live readers, and how it tells direct writers from itself.

use headwater_core::sequencer::{Answer, Need, News, Op, Ticket, UpstreamResult};

use super::rig::{Rig, chain};

/// The news in short: the kind, and the head.
fn told(rig: &mut Rig) -> Vec<(&'static str, u64)> {
    let short = |news| match news {
        News::Appended { tip, .. } => ("appended", tip.head),
        News::Moved(tip) => ("moved", tip.head),
        News::Begun(tip) => ("begun", tip.head),
        News::Deleted => ("deleted", 0),
    };
    rig.published.drain(..).map(short).collect()
}

#[test]
fn an_accepted_push_is_published_once_with_its_place() {
    let mut rig = Rig::warm(2);
    let before = rig.core.tip().unwrap().offset.clone();
    let call = rig.begin_push(chain(2, 3, "a"));
    rig.settle();
    let Answer::Accepted(tip) = rig.answer(call) else { panic!("not accepted") };
    let appended = News::Appended { ticket: Ticket(call as u64), parent: 2, from: before, tip };
    assert_eq!(rig.published, [appended]);
}

#[test]
fn refused_and_repeated_pushes_publish_nothing() {
    let mut rig = Rig::warm(2);
    assert!(matches!(rig.push(chain(0, 1, "stale")), Answer::ServerAhead { .. }));
    assert!(matches!(rig.push(chain(9, 1, "gap")), Answer::Gap { .. }));
    assert!(matches!(rig.push(chain(0, 2, "warm")), Answer::AcceptedAgain(_)));
    assert_eq!(told(&mut rig), []);
}

#[test]
fn a_direct_writers_append_is_published_when_it_is_met() {
    let mut rig = Rig::warm(2);
    rig.upstream.append(2, &chain(2, 1, "direct"));
    assert!(matches!(rig.push(chain(2, 1, "late")), Answer::ServerAhead { .. }));
    assert_eq!(told(&mut rig), [("moved", 3)]);
    assert!(rig.met_direct_writer);
}

#[test]
fn a_row_that_lagged_is_no_direct_writer() {
    let mut rig = Rig::warm(2);
    let old = rig.stored.clone();
    assert!(matches!(rig.push(chain(2, 2, "a")), Answer::Accepted(_)));
    rig.stored = old;
    rig.restart();
    rig.published.clear();
    assert!(matches!(rig.push(chain(4, 1, "b")), Answer::Accepted(_)));
    assert_eq!(told(&mut rig), [("moved", 4), ("appended", 5)]);
    assert!(!rig.met_direct_writer);
}

#[test]
fn a_reset_is_published_as_another_log() {
    let mut rig = Rig::warm(2);
    rig.call(Op::Reset);
    assert_eq!(told(&mut rig), [("begun", 0)]);
}

#[test]
fn a_look_that_finds_nothing_new_publishes_nothing() {
    let mut rig = Rig::warm(2);
    rig.call(Op::Look(Need::Fresh));
    assert_eq!(told(&mut rig), []);
    assert!(!rig.met_direct_writer);
}

#[test]
fn an_own_append_without_an_answer_is_no_direct_writer() {
    // A new stream has no append before the first one. Therefore the Sequencer checks the tail, and reads on from there.
    let mut rig = Rig::warm(0);
    let push = rig.begin_push(chain(0, 2, "a"));
    rig.step(Some(UpstreamResult::Failed)); // the batch landed, but the answer is lost
    rig.settle();
    assert!(matches!(rig.answer(push), Answer::Accepted(_)));
    assert!(!rig.met_direct_writer);
}

#[test]
fn an_own_append_that_lands_late_is_no_direct_writer() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.lose_request();
    rig.step(None); // the look finds nothing
    rig.upstream.append(3, &chain(3, 1, "a")); // the first append lands
    rig.settle();
    assert!(matches!(rig.answer(push), Answer::Accepted(_)));
    assert!(!rig.met_direct_writer);
}

#[test]
fn a_row_of_a_new_stream_that_lagged_is_no_direct_writer() {
    let mut rig = Rig::warm(0);
    let old = rig.stored.clone();
    assert!(matches!(rig.push(chain(0, 2, "a")), Answer::Accepted(_)));
    rig.stored = old;
    rig.restart();
    assert!(matches!(rig.push(chain(2, 1, "b")), Answer::Accepted(_)));
    assert!(!rig.met_direct_writer);
}

#[test]
fn a_look_meets_a_direct_writer() {
    let mut rig = Rig::warm(2);
    rig.upstream.append(2, &chain(2, 1, "direct"));
    rig.call(Op::Look(Need::Fresh));
    assert_eq!(told(&mut rig), [("moved", 3)]);
    assert!(rig.met_direct_writer);
}
