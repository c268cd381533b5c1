//! What of the sealed history is read at once.

use headwater::event::Offset;
use headwater::sequencer::plan::{MAX_SEGMENT_BYTES, Place, Plan, Segment};

fn place(head: u64, events: u64, bytes: u64) -> Place {
    Place { offset: Offset(format!("{head:04}")), head, events, bytes }
}

#[test]
fn segments_follow_one_another() {
    let plan = Plan::new(place(5, 3, 100), [place(9, 7, 500), place(10, 8, 900)]);
    let segment = |events, head: u64, bytes| Segment { events, head, end: Offset(format!("{head:04}")), bytes };
    assert_eq!(
        plan,
        Plan { from: Offset("0005".into()), head: 5, segments: vec![segment(4, 9, 400), segment(1, 10, 400)] }
    );
    assert!(Plan::new(place(5, 3, 100), []).segments.is_empty());
    assert_eq!(Plan::new(Place::start(), [place(2, 2, 100)]).from.0, "-1");
}

#[test]
fn no_more_is_read_at_once_than_fits() {
    let ends = |size: u64| (1..=100).map(move |n| place(n, n, n * size));
    assert_eq!(Plan::new(Place::start(), ends(10)).segments.len(), 32, "by number");
    assert_eq!(Plan::new(Place::start(), ends(4 << 20)).segments.len(), 8, "by bytes");
    assert_eq!(Plan::new(Place::start(), ends(MAX_SEGMENT_BYTES)).segments.len(), 4);
    assert!(Plan::new(Place::start(), ends(MAX_SEGMENT_BYTES + 1)).segments.is_empty(), "too long to be kept");
    let then_long = [place(1, 1, 10), place(2, 2, MAX_SEGMENT_BYTES + 11), place(3, 3, MAX_SEGMENT_BYTES + 12)];
    assert_eq!(Plan::new(Place::start(), then_long).segments.len(), 1);
}
