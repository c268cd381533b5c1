//! A read of the log comes to an end, however it is answered.

use headwater_core::event::Offset;
use headwater_core::log::Paging;

fn offset(number: usize) -> Offset {
    Offset(format!("{number:08}"))
}

/// How many pages are read at most, if each leads on and only every so-many-th holds a message.
fn pages(every: usize) -> usize {
    let mut way = Paging::default();
    let leads_on =
        |at: &usize| way.leads_on(&offset(*at), &offset(at + 1), !at.is_multiple_of(every));
    1 + (0..100_000).take_while(leads_on).count()
}

#[test]
fn pages_without_messages_are_soon_given_up() {
    assert_eq!(pages(100_000), 5);
}

#[test]
fn pages_with_messages_are_read_on_and_come_to_an_end() {
    assert_eq!(pages(1), 10_000);
    assert_eq!(pages(4), 10_000);
}

#[test]
fn a_page_leads_forward() {
    let leads_on = |at: &Offset, next: &Offset| Paging::default().leads_on(at, next, false);
    let start = Offset(Offset::START.into());
    assert!(leads_on(&start, &offset(0)));
    assert!(leads_on(&offset(1), &offset(2)));
    assert!(!leads_on(&start, &start));
    assert!(!leads_on(&offset(1), &offset(1)));
    assert!(!leads_on(&offset(2), &offset(1)));
}
