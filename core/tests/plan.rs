//! The plan of a read: how much of the sealed history one read takes.

use headwater_core::event::{Fingerprint, Offset};
use headwater_core::segments::plan::{MAX_SEGMENT_BYTES, Place, Plan, Segment};
use proptest::prelude::*;

fn place(head: u64, events: u64, bytes: u64) -> Place {
    Place {
        offset: Offset(format!("{head:05}")),
        head,
        events,
        bytes,
        made_by: Some((head - 1, Fingerprint(head.into()))),
    }
}

#[test]
fn the_segments_of_a_plan_follow_one_another() {
    let plan = Plan::new(place(5, 3, 100), [place(9, 7, 500), place(10, 8, 900)]);
    let segment = |events, head: u64, bytes| {
        let Place { offset: end, made_by, .. } = place(head, 0, 0);
        Segment { events, head, end, bytes, made_by }
    };
    assert_eq!(
        plan,
        Plan {
            from: Offset("00005".into()),
            head: 5,
            segments: vec![segment(4, 9, 400), segment(1, 10, 400)],
            run: None
        }
    );
    assert!(Plan::new(place(5, 3, 100), []).segments.is_empty());
    assert_eq!(Plan::new(Place::start(), [place(2, 2, 100)]).from.0, "-1");
}

#[test]
fn a_plan_is_bounded_in_number_and_bytes() {
    let ends = |size: u64| (1..=100).map(move |n| place(n, n, n * size));
    assert_eq!(Plan::new(Place::start(), ends(10)).segments.len(), 32, "the number has no bound");
    assert_eq!(
        Plan::new(Place::start(), ends(4 << 20)).segments.len(),
        8,
        "the bytes have no bound"
    );
    assert_eq!(Plan::new(Place::start(), ends(MAX_SEGMENT_BYTES)).segments.len(), 4);
    let too_long = Plan::new(Place::start(), ends(MAX_SEGMENT_BYTES + 1));
    assert!(too_long.segments.is_empty(), "a run is taken for a segment");
    assert_eq!(
        too_long.run.map(|run| (run.events, run.head, run.bytes)),
        Some((1, 1, MAX_SEGMENT_BYTES + 1))
    );
    let then_long =
        [place(1, 1, 10), place(2, 2, MAX_SEGMENT_BYTES + 11), place(3, 3, MAX_SEGMENT_BYTES + 12)];
    let plan = Plan::new(Place::start(), then_long);
    assert_eq!((plan.segments.len(), plan.run), (1, None), "a run behind a segment is in the plan");
}

fn rows() -> impl Strategy<Value = Vec<Place>> {
    prop_oneof![Just(1_u64), Just(10_000), Just(1 << 46)]
        .prop_flat_map(|apart| prop::collection::vec(1..=apart, 1..60))
        .prop_map(|steps| {
            let ends = steps.into_iter().scan(0, |head, apart| {
                *head += apart;
                Some(*head)
            });
            ends.enumerate()
                .map(|(n, head)| Place {
                    offset: Offset(format!("{n:04}")),
                    ..place(head, head, head)
                })
                .collect()
        })
}

proptest! {
    /// A few look-ups find an append, wherever it is and however far apart the numbers are.
    #[test]
    fn an_append_is_found_by_its_offset_in_a_few_look_ups(rows in rows(), which: prop::sample::Index) {
        let last = rows[rows.len() - 1].head;
        let mut looks = 0;
        let mut find = |offset: &str| {
            Place::find(&Offset(offset.into()), last, |seq| {
                looks += 1;
                Ok::<_, ()>(rows.iter().find(|row| row.head >= seq).cloned())
            })
        };
        let wanted = which.index(rows.len());
        prop_assert_eq!(find(&format!("{wanted:04}")), Ok(Some(rows[wanted].clone())));
        for missing in ["", "-1", "9999", &format!("{wanted:04}5")] {
            prop_assert_eq!(find(missing), Ok(None));
        }
        prop_assert!(looks <= 5 * 54, "{} look-ups", looks);
    }
}

#[test]
fn an_append_among_ten_thousand_is_found_in_fourteen_look_ups() {
    let mut looks = 0;
    let at = |n: u64| place(n, n, n);
    let found = Place::find(&at(6_789).offset, 10_000, |seq| {
        looks += 1;
        Ok::<_, ()>((1..=10_000).contains(&seq.max(1)).then(|| at(seq.max(1))))
    });
    assert_eq!(found, Ok(Some(at(6_789))));
    assert!(looks <= 14, "{looks} look-ups");
}
