//! How much may arrive at once.

use headwater::edge::arrivals::{Arrivals, Limits};
use headwater::names::StorePath;

const LIMITS: Limits = Limits { bodies: 3, bytes: 4_000 };

fn store(name: &str) -> StorePath {
    StorePath::new("acme", name).unwrap()
}

#[test]
fn a_store_has_so_many_bodies_and_no_more() {
    let mut arrivals = Arrivals::default();
    let mut begin = |name: &str| arrivals.begin(&store(name), 10, (0, 100), LIMITS);
    let first = begin("a").unwrap();
    assert!(begin("a").is_some() && begin("a").is_some());
    assert_eq!(begin("a"), None);
    assert!(begin("b").is_some());
    arrivals.done(first);
    assert!(arrivals.begin(&store("a"), 10, (0, 100), LIMITS).is_some());
}

#[test]
fn a_store_has_a_quarter_of_the_bytes_and_all_together_no_more_than_all() {
    let mut arrivals = Arrivals::default();
    let mut begin = |name: &str, bytes| arrivals.begin(&store(name), bytes, (0, 100), LIMITS).is_some();
    assert!(!begin("a", 1_001) && begin("a", 1_000) && !begin("a", 1));
    assert!(begin("b", 1_000) && begin("c", 1_000) && begin("d", 999));
    assert!(!begin("e", 2) && begin("e", 1));
}

#[test]
fn what_is_never_done_counts_until_its_time_is_over() {
    let mut arrivals = Arrivals::default();
    assert!(arrivals.begin(&store("a"), 1_000, (0, 100), LIMITS).is_some());
    assert!(arrivals.begin(&store("a"), 1, (99, 199), LIMITS).is_none());
    assert!(arrivals.begin(&store("a"), 1, (100, 200), LIMITS).is_some());
}
