//! The pages of a run, and the interior offsets between them.

use headwater_core::event::{BackendId, Fingerprinter, Offset, SeqNum};
use headwater_core::segments::assemble::{Sealed, SegmentMismatch};
use headwater_core::segments::pages::{Interior, Pages, Remainder};
use headwater_core::segments::plan::{Plan, Segment, SegmentSize};
use proptest::prelude::*;

use crate::support::messages::{backend, event, header, log};

/// A log with a header and this number of events.
fn whole(events: u64) -> String {
    log(std::iter::once(header(&backend())).chain((1..=events).map(event)))
}

/// A plan with a run of this number of events at the begin of the log.
fn plan(events: u64) -> Plan {
    let run = Segment { events, head: events, end: Offset("0009".into()), bytes: 0, made_by: None };
    Plan { from: Offset(Offset::START.into()), head: 0, segments: Vec::new(), run: Some(run) }
}

fn pages(plan: Plan, first: Option<Interior>, size: SegmentSize) -> Option<Pages> {
    Pages::new(plan, first, size, backend(), BackendId("path:t/s".into()))
}

fn read(mut pages: Pages, body: &str, chunk: usize) -> Result<Vec<Sealed>, SegmentMismatch> {
    let mut read = Vec::new();
    for chunk in body.as_bytes().chunks(chunk) {
        read.extend(pages.feed(chunk)?);
    }
    Ok(read)
}

fn rest(after: Interior, body: &str, chunk: usize) -> Result<String, SegmentMismatch> {
    let mut remainder = Remainder::new(after);
    let mut passed = Vec::new();
    for chunk in body.as_bytes().chunks(chunk) {
        passed.extend(remainder.feed(chunk)?);
    }
    passed.extend(remainder.finish()?);
    Ok(String::from_utf8(passed).unwrap())
}

proptest! {
    #[test]
    fn an_interior_offset_is_read_back_and_sorts_by_the_events_before_it(
        run in prop_oneof![Just("-1".to_string()), "[0-9]{4}_[0-9]{4}"],
        events in 1..1_u64 << 53,
        more in 1..1_u64 << 20,
        head in any::<u32>(),
    ) {
        let at = |events| Interior { run: Offset(run.clone()), events, head: head.into() };
        let (first, second) = (at(events).offset(), at(events.saturating_add(more).min((1 << 53) - 1)).offset());
        prop_assert_eq!(Interior::parse(&first), Some(at(events)));
        prop_assert!(first > Offset(run.clone()) && (first < second || more == 0 || first == second));
        prop_assert_eq!(Interior::parse(&Offset(run)), None);
    }

    #[test]
    fn pages_hold_the_run_and_each_end_of_a_page_leads_on(
        events in 2..120_u64,
        size in (1..40_u64, 50..3_000_u64),
        chunk in 1..400_usize,
        which: prop::sample::Index,
    ) {
        let size = SegmentSize { events: size.0, bytes: size.1 };
        let body = whole(events + 3); // the tail behind the run
        let all = read(pages(plan(events), None, size).unwrap(), &body, chunk).unwrap();
        prop_assert!(all.len() <= Plan::AHEAD);
        let mut bodies = String::new();
        let mut at = Offset(Offset::START.into());
        for page in &all {
            prop_assert_eq!(&page.from, &at);
            prop_assert!(page.from < page.end);
            bodies.push_str(std::str::from_utf8(&page.body).unwrap().strip_prefix('[').unwrap().strip_suffix(']').unwrap());
            bodies.push(',');
            at = page.end.clone();
        }
        let expected = whole(events).replace("}, {", "},{");
        let expected = expected[1..expected.len() - 1].to_string() + ",";
        match at.0 == "0009" {
            true => prop_assert_eq!(&bodies, &expected),
            false => prop_assert!(all.len() == Plan::AHEAD && expected.starts_with(&bodies)),
        }
        // A read from any page on gives the same pages. A reader without kept pages receives the same events.
        let n = which.index(all.len());
        if let Some(first) = Interior::parse(&all[n].from) {
            let again = read(pages(plan(events), Some(first.clone()), size).unwrap(), &body, chunk).unwrap();
            prop_assert_eq!(&again[..all.len() - n], &all[n..]);
            let left = (first.events + 1..=events + 3).map(event).collect::<Vec<_>>().join(",");
            prop_assert_eq!(rest(first, &body, chunk), Ok(format!("[{left}]")));
        }
    }
}

/// Another log may have the same bounds and as many events. The recorded last append tells the two apart.
#[test]
fn a_run_of_another_log_with_the_same_shape_does_not_end() {
    let size = SegmentSize { events: 4, bytes: 10_000 };
    let mut fingerprinter = Fingerprinter::default();
    (1..=10).for_each(|seq| fingerprinter.event(event(seq).as_bytes()));
    let run = Segment { made_by: Some((0, fingerprinter.fingerprint())), ..plan(10).run.unwrap() };
    let wanted = Plan { run: Some(run), ..plan(10) };
    let theirs = whole(10).replace("\"clientId\":\"c\"", "\"clientId\":\"d\"");
    assert_ne!(theirs, whole(10));
    for chunk in [1, 50, 10_000] {
        assert_eq!(
            read(pages(wanted.clone(), None, size).unwrap(), &whole(10), chunk).unwrap().len(),
            3
        );
        assert!(read(pages(wanted.clone(), None, size).unwrap(), &theirs, chunk).is_err());
    }
}

#[test]
fn a_page_that_does_not_match_the_index_is_refused() {
    let size = SegmentSize { events: 4, bytes: 10_000 };
    let at = |events, head| Interior { run: Offset(Offset::START.into()), events, head };
    let events = |seqs: &[SeqNum]| {
        log(std::iter::once(header(&backend())).chain(seqs.iter().map(|seq| event(*seq))))
    };
    let good = whole(10);
    for (name, body, first) in [
        ("another backend's", good.replace("\"b\"", "\"c\""), None),
        ("no header", log((1..=10).map(event)), None),
        ("a hole", events(&[1, 2, 4, 5, 6, 7, 8, 9, 10, 11]), None),
        ("no event", good.replace(&event(3), "{}"), None),
        ("no array", "{}".into(), None),
        ("another end", good.replace("\"seqNum\":10,", "\"seqNum\":12,"), Some(at(8, 8))),
        ("an offset of another log", good.clone(), Some(at(4, 5))),
        ("an offset behind the run", good.clone(), Some(at(10, 10))),
    ] {
        for chunk in [1, 50, 10_000] {
            let read = read(pages(plan(10), first.clone(), size).unwrap(), &body, chunk);
            assert!(read.is_err(), "{name}: {read:?}");
        }
    }
    assert!(rest(at(4, 5), &good, 10).is_err());
    assert!(pages(Plan { run: None, ..plan(10) }, None, size).is_none());
    // A run without room for offsets between its ends has no pages.
    let from = Offset("5".into());
    let end = |end: &str| Some(Segment { end: Offset(end.into()), ..plan(10).run.unwrap() });
    assert!(pages(Plan { run: end("5a"), from: from.clone(), ..plan(10) }, None, size).is_none());
    assert!(pages(Plan { run: end("6"), from, ..plan(10) }, None, size).is_some());
    for text in [
        "-1~hw1.1",
        "-1~hw0000000000000000.0",
        "-1~hw0000000000000001.01",
        "-1~hw+000000000000001.1",
        "-1~hw0000000000000001",
    ] {
        assert_eq!(Interior::parse(&Offset(text.into())), None, "{text}");
    }
}
