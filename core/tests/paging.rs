//! The end of a read, whatever the upstream answers.

use headwater_core::event::Offset;
use headwater_core::log::Paging;

fn offset(number: usize) -> Offset {
    Offset(format!("{number:08}"))
}

/// The number of pages that are read if each one leads on, and every `every`-th one holds a message.
fn pages(every: usize) -> usize {
    let mut paging = Paging::default();
    let leads_on =
        |at: &usize| paging.leads_on(&offset(*at), &offset(at + 1), !at.is_multiple_of(every));
    1 + (0..100_000).take_while(leads_on).count()
}

#[test]
fn a_read_of_pages_without_messages_ends_after_a_few() {
    assert_eq!(pages(100_000), 5);
}

#[test]
fn a_read_of_pages_with_messages_ends_at_the_limit() {
    assert_eq!(pages(1), 10_000);
    assert_eq!(pages(4), 10_000);
}

#[test]
fn a_page_that_does_not_lead_forward_ends_the_read() {
    let leads_on = |at: &Offset, next: &Offset| Paging::default().leads_on(at, next, false);
    let start = Offset(Offset::START.into());
    assert!(leads_on(&start, &offset(0)));
    assert!(leads_on(&offset(1), &offset(2)));
    assert!(!leads_on(&start, &start));
    assert!(!leads_on(&offset(1), &offset(1)));
    assert!(!leads_on(&offset(2), &offset(1)));
}
