//! The segment assembler against serde_json, and segments against their index.

use headwater_core::event::{BackendId, Fingerprinter, Offset, SeqNum};
use headwater_core::messages::SplitError;
use headwater_core::segments::assemble::{
    Passage, Sealed, SegmentAssembler, SegmentMismatch, Segments,
};
use headwater_core::segments::plan::{Plan, Segment};
use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

use crate::support::json::{chunked, json};
use crate::support::messages::{backend, event, header, log};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_pieces_of_an_array_hold_its_elements_byte_for_byte(
        values in prop::collection::vec(json(), 0..12),
        pretty: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ends in prop::collection::vec(any::<bool>(), 12),
    ) {
        let array = Value::from(values);
        let body = if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
        let elements: Vec<&RawValue> = serde_json::from_str(&body).unwrap();
        let elements: Vec<&str> = elements.iter().map(|raw| raw.get()).collect();
        let mut expected = Vec::new();
        let mut piece = Vec::new();
        for (element, end) in elements.iter().zip(&ends) {
            piece.push(*element);
            if *end {
                expected.push(format!("[{}]", std::mem::take(&mut piece).join(",")));
            }
        }

        let mut assembler = SegmentAssembler::default();
        let mut at = 0;
        let mut pieces = Vec::new();
        for chunk in chunked(body.as_bytes(), cuts) {
            pieces.extend(assembler.feed(chunk, |_| { at += 1; ends[at - 1] }).unwrap());
        }
        let pieces: Vec<String> = pieces.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect();
        prop_assert_eq!(pieces, expected);
    }
}

fn offset(n: usize) -> Offset {
    Offset(if n == 0 { "-1".into() } else { format!("{n:04}") })
}

fn implicit() -> BackendId {
    BackendId("path:t/s".into())
}

/// A plan of segments that end at these events, for a reader behind `from` events.
fn plan(from: SeqNum, ends: &[SeqNum]) -> Plan {
    let begins = std::iter::once(&from).chain(ends);
    let segment = |(begin, end): (&SeqNum, &SeqNum)| Segment {
        events: end - begin,
        head: *end,
        end: offset(*end as usize),
        bytes: 0,
        made_by: None,
    };
    Plan {
        from: offset(from as usize),
        head: from,
        segments: begins.zip(ends).map(segment).collect(),
        run: None,
    }
}

fn read(plan: Plan, body: &str, chunk: usize) -> Result<Vec<Sealed>, SegmentMismatch> {
    let mut segments = Segments::new(plan, backend(), implicit());
    let mut sealed = Vec::new();
    for chunk in body.as_bytes().chunks(chunk) {
        if segments.is_done() {
            break;
        }
        sealed.extend(segments.feed(chunk)?);
    }
    Ok(sealed)
}

#[test]
fn a_log_is_cut_into_its_segments() {
    let whole = log(std::iter::once(header(&backend())).chain((1..=9).map(event)));
    for chunk in [1, 7, 100, 10_000] {
        let sealed = read(plan(0, &[2, 3, 7]), &whole, chunk).unwrap();
        let bodies: Vec<&str> =
            sealed.iter().map(|s| std::str::from_utf8(&s.body).unwrap()).collect();
        let piece = |messages: Vec<String>| format!("[{}]", messages.join(","));
        assert_eq!(
            bodies,
            [
                piece(vec![header(&backend()), event(1), event(2)]),
                piece(vec![event(3)]),
                piece((4..=7).map(event).collect())
            ]
        );
        let places: Vec<(Offset, Offset)> = sealed.into_iter().map(|s| (s.from, s.end)).collect();
        assert_eq!(
            places,
            [(offset(0), offset(2)), (offset(2), offset(3)), (offset(3), offset(7))]
        );
    }
    let rest = log((6..=9).map(event));
    assert_eq!(read(plan(5, &[7]), &rest, 7).unwrap().len(), 1);
}

#[test]
fn a_log_without_a_header_has_the_implicit_id() {
    let body = log((1..=3).map(event));
    assert_eq!(
        read(plan(0, &[2]), &body, 64),
        Err(SegmentMismatch::Segment(offset(2))),
        "a log without the expected header is kept"
    );
    let mut segments = Segments::new(plan(0, &[2]), implicit(), implicit());
    assert_eq!(segments.feed(body.as_bytes()).unwrap().len(), 1);
}

#[test]
fn a_segment_that_does_not_match_the_index_is_not_kept() {
    let mismatch = |n| Err(SegmentMismatch::Segment(offset(n)));
    let with_header =
        |id: &BackendId, events: Vec<String>| log(std::iter::once(header(id)).chain(events));
    let events = |seqs: &[SeqNum]| seqs.iter().map(|seq| event(*seq)).collect::<Vec<_>>();
    let other = BackendId("other".into());
    for (name, plan, body, expected) in [
        ("another backend's", plan(0, &[2]), with_header(&other, events(&[1, 2])), mismatch(2)),
        ("a hole", plan(0, &[3]), with_header(&backend(), events(&[1, 3, 4])), mismatch(3)),
        ("another begin", plan(5, &[7]), log(events(&[5, 6])), mismatch(7)),
        ("a header inside", plan(5, &[7]), with_header(&backend(), events(&[6, 7])), mismatch(7)),
        ("no event", plan(5, &[7]), log([event(6), "{}".into(), event(7)]), mismatch(7)),
        (
            "no array",
            plan(5, &[7]),
            "{}".into(),
            Err(SegmentMismatch::Split(SplitError::Unexpected(b'{'))),
        ),
    ] {
        assert_eq!(read(plan, &body, 10), expected, "{name}");
    }
    // The segment before it is kept.
    let body = log(events(&[1, 2, 4]));
    let mut segments = Segments::new(plan(0, &[2, 3]), implicit(), implicit());
    assert_eq!(segments.feed(&body.as_bytes()[..body.len() / 2]).map(|s| s.len()), Ok(0));
}

/// The plan, with a first segment whose last append follows `parent` and holds these events.
fn plan_made_by(parent: SeqNum, events: &[String], plan: Plan) -> Plan {
    let mut fingerprinter = Fingerprinter::default();
    for event in events {
        fingerprinter.event(event.as_bytes());
    }
    let mut plan = plan;
    plan.segments[0].made_by = Some((parent, fingerprinter.fingerprint()));
    plan
}

/// An upstream may answer with another store's page, which has the same bounds and as many events.
#[test]
fn a_segment_of_another_store_with_the_same_shape_is_not_kept() {
    let ours: Vec<String> = (6..=9).map(event).collect();
    let theirs = ours.iter().map(|event| event.replace("\"c\"", "\"d\"")).collect::<Vec<_>>();
    let wanted = plan_made_by(7, &ours[2..], plan(5, &[9]));
    for chunk in [1, 50, 10_000] {
        assert_eq!(read(wanted.clone(), &log(ours.clone()), chunk).unwrap().len(), 1);
        assert_eq!(
            read(wanted.clone(), &log(theirs.clone()), chunk),
            Err(SegmentMismatch::Segment(offset(9)))
        );
        let (passed, end) = pass(wanted.clone(), &log(theirs.clone()), chunk);
        assert_eq!((end, passed.ends_with(']')), (Err(SegmentMismatch::Segment(offset(9))), false));
    }
    // No append of the segment begins where the recorded one does.
    assert!(read(plan_made_by(4, &ours[2..], plan(5, &[9])), &log(ours), 50).is_err());
}

#[test]
fn a_segment_in_several_pages_is_kept_as_one() {
    let mut segments = Segments::new(plan(0, &[3, 4]), implicit(), implicit());
    assert_eq!(segments.feed(log([event(1), event(2)]).as_bytes()).unwrap().len(), 0);
    segments.next_page().unwrap();
    let sealed = segments.feed(log([event(3), event(4)]).as_bytes()).unwrap();
    let bodies: Vec<&str> = sealed.iter().map(|s| std::str::from_utf8(&s.body).unwrap()).collect();
    assert_eq!(
        bodies,
        [format!("[{},{},{}]", event(1), event(2), event(3)), format!("[{}]", event(4))]
    );
    let mut cut_off = Segments::new(plan(0, &[3]), implicit(), implicit());
    cut_off.feed(b"[").unwrap();
    assert_eq!(cut_off.next_page(), Err(SegmentMismatch::Split(SplitError::Truncated)));
}

#[test]
fn a_segment_above_the_size_limit_is_not_read_to_its_end() {
    let mut segments = Segments::new(plan(0, &[100]), implicit(), implicit());
    let large = event(1).replace("[1]", &format!("{:?}", "x".repeat(17 << 20)));
    assert_eq!(
        segments.feed(log([large, event(2)]).as_bytes()),
        Err(SegmentMismatch::Segment(offset(100)))
    );
}

#[test]
fn a_log_that_ends_early_lacks_its_last_segment() {
    let mut segments = Segments::new(plan(0, &[1, 3]), implicit(), implicit());
    assert_eq!(segments.feed(log([event(1), event(2)]).as_bytes()).unwrap().len(), 1);
    assert!(!segments.is_done());
}

/// The part of a plan's first segment that a reader receives, and whether it is the whole segment.
fn pass(plan: Plan, body: &str, chunk: usize) -> (String, Result<bool, SegmentMismatch>) {
    let mut passage = Passage::new(plan, backend(), implicit());
    let mut passed = Vec::new();
    for chunk in body.as_bytes().chunks(chunk) {
        match passage.feed(chunk) {
            Ok(bytes) => passed.extend(bytes),
            Err(mismatch) => return (String::from_utf8(passed).unwrap(), Err(mismatch)),
        }
    }
    (String::from_utf8(passed).unwrap(), Ok(passage.is_done()))
}

#[test]
fn a_passage_passes_the_segment_on_byte_for_byte() {
    let whole = log(std::iter::once(header(&backend())).chain((1..=9).map(event)));
    for (from, ends) in [(0, &[4, 9][..]), (3, &[5, 7][..]), (8, &[9][..])] {
        let read_on = if from == 0 { whole.clone() } else { log((from + 1..=9).map(event)) };
        let segment = read(plan(from, ends), &read_on, 10_000).unwrap().remove(0);
        for chunk in [1, 7, 100, 10_000] {
            let (passed, done) = pass(plan(from, ends), &read_on, chunk);
            assert_eq!((passed.as_bytes(), done), (&segment.body[..], Ok(true)));
        }
    }
}

#[test]
fn a_passage_that_does_not_match_the_index_never_ends_as_an_array() {
    let events = |seqs: &[SeqNum]| log(seqs.iter().map(|seq| event(*seq)));
    for (name, plan, body) in [
        ("a hole", plan(5, &[8]), events(&[6, 8, 9])),
        ("another begin", plan(5, &[7]), events(&[5, 6])),
        (
            "another end",
            plan(5, &[7]),
            log([event(6), event(7).replace("\"seqNum\":7", "\"seqNum\":9")]),
        ),
        ("no event", plan(5, &[7]), log([event(6), "{}".into(), event(7)])),
        ("no array", plan(5, &[7]), "{}".into()),
        ("a log that ends early", plan(5, &[9]), events(&[6, 7])),
    ] {
        for chunk in [1, 7, 10_000] {
            let (passed, done) = pass(plan.clone(), &body, chunk);
            assert_ne!(done, Ok(true), "{name}");
            assert!(!passed.ends_with(']'), "{name}: {passed}");
        }
    }
}

#[test]
fn a_passage_in_several_pages_is_one_array() {
    let mut passage = Passage::new(plan(5, &[9]), backend(), implicit());
    let mut passed = passage.feed(events_from(6, 7).as_bytes()).unwrap();
    passage.next_page().unwrap();
    passed.extend(passage.feed(events_from(8, 12).as_bytes()).unwrap());
    assert!(passage.is_done());
    assert_eq!(
        passed,
        format!("[{}]", (6..=9).map(event).collect::<Vec<_>>().join(",")).as_bytes()
    );
}

fn events_from(first: SeqNum, last: SeqNum) -> String {
    log((first..=last).map(event))
}
