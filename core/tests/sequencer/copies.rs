//! The copy of a log, as a move writes it.

use headwater_core::event::{BackendId, Offset};
use headwater_core::log::{LogRange, LogScanner};
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::copy::{LogCopy, LogName, NotTheNext};

fn offset(at: u32) -> Offset {
    Offset(format!("{at:04}"))
}

fn range(parent: u64, last: u64) -> LogRange {
    let mut scanner = LogScanner::default();
    for seq in parent + 1..=last {
        let before = seq - 1;
        scanner.message(format!(r#"{{"seqNum":{seq},"parentSeqNum":{before}}}"#).as_bytes());
    }
    scanner.finish()
}

fn copy() -> LogCopy {
    let size = SegmentSize { events: 4, bytes: 1_000_000 };
    LogCopy::begun(BackendId("b".into()), offset(1), "name", size)
}

#[test]
fn a_copy_has_an_index_of_its_own_with_an_entry_for_each_part() {
    let mut copy = copy();
    for (parent, last) in [(0, 3), (3, 5), (5, 6)] {
        let end = u32::try_from(last).expect("small") * 10;
        copy.add(&range(parent, last), offset(end)).expect("the next part");
    }
    assert_eq!((copy.tip().head, copy.tip().events), (6, 6));
    let index: Vec<_> = copy
        .into_index()
        .into_iter()
        .map(|tip| (tip.head, tip.offset.0.clone(), tip.seals(), tip.sealed.index.0))
        .collect();
    let entry =
        |head, end: &str, seals| (head, end.to_string(), seals, "0001~copy-name".to_string());
    let expected = [
        entry(0, "0001", false),
        entry(3, "0030", false),
        entry(5, "0050", true),
        entry(6, "0060", false),
    ];
    assert_eq!(index, expected);
}

#[test]
fn a_copy_takes_only_the_part_that_follows_it() {
    let mut copy = copy();
    copy.add(&range(0, 3), offset(30)).expect("the next part");
    for (parent, last) in [(0, 3), (2, 4), (4, 5)] {
        assert_eq!(copy.add(&range(parent, last), offset(50)), Err(NotTheNext));
    }
    let mut broken = LogScanner::default();
    broken.message(b"{}");
    assert_eq!(copy.add(&broken.finish(), offset(50)), Err(NotTheNext));
    assert_eq!(copy.tip().head, 3);
}

#[test]
fn a_copy_has_a_name_of_its_own_in_its_address() {
    let name = LogName::of(copy().tip());
    assert_eq!(name.to_string(), "b~copy-name");
    assert_eq!(LogName::parse("b~copy-name"), name);
    let never_copied = LogName::parse("b~1");
    assert_eq!((never_copied.backend_id.0.as_str(), &never_copied.copy), ("b~1", &None));
    assert_eq!(never_copied.to_string(), "b~1");
}
