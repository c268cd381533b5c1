//! How much of an isolate's memory may be held at once, and by whom.

use headwater::budget::{Budget, Limits};
use proptest::prelude::*;

const LIMITS: Limits = Limits { leases: 3, bytes: 4_000 };

#[test]
fn an_owner_has_so_many_leases_and_no_more() {
    let mut budget = Budget::default();
    let mut take = |owner: &str| budget.take(owner, 10, (0, 100), LIMITS);
    let first = take("a").unwrap();
    assert!(take("a").is_some() && take("a").is_some());
    assert_eq!(take("a"), None);
    assert!(take("b").is_some());
    budget.give_back(first);
    assert!(budget.take("a", 10, (0, 100), LIMITS).is_some());
}

#[test]
fn an_owner_has_as_many_bytes_as_remain_for_all_others() {
    let mut budget = Budget::default();
    let mut take = |owner: &str, bytes| budget.take(owner, bytes, (0, 100), LIMITS).is_some();
    assert!(!take("a", 2_001) && take("a", 2_000) && !take("a", 1));
    assert!(!take("b", 1_001) && take("b", 1_000) && !take("b", 1));
    assert!(take("c", 500) && take("d", 250));
}

#[test]
fn a_lease_that_shrinks_makes_room() {
    let mut budget = Budget::default();
    let lease = budget.take("a", 2_000, (0, 100), LIMITS).unwrap();
    assert_eq!(budget.take("a", 1, (0, 100), LIMITS), None);
    budget.shrink(lease, 500);
    assert!(budget.take("a", 1_500, (0, 100), LIMITS).is_some());
    budget.shrink(lease, 600);
    assert_eq!(budget.take("a", 1, (0, 100), LIMITS), None, "it does not grow");
}

#[test]
fn a_lease_that_is_never_given_back_counts_until_its_time_is_over() {
    let mut budget = Budget::default();
    let lease = budget.take("a", 2_000, (0, 100), LIMITS).unwrap();
    assert!(budget.take("a", 1, (99, 199), LIMITS).is_none());
    budget.renew(lease, 150);
    assert!(budget.take("a", 1, (100, 200), LIMITS).is_none());
    assert!(budget.take("a", 2_000, (150, 250), LIMITS).is_some());
}

#[test]
fn an_adopted_lease_is_counted_once_and_is_its_new_holders() {
    let mut budget = Budget::default();
    let first = budget.take("a", 2_000, (0, 100), LIMITS).unwrap();
    let adopted = budget.adopt(first, 200).unwrap();
    budget.give_back(first);
    assert!(budget.take("a", 1, (0, 100), LIMITS).is_none(), "it still counts");
    assert!(budget.take("a", 1, (199, 299), LIMITS).is_none(), "until the time of its new holder is over");
    budget.give_back(adopted);
    assert!(budget.take("a", 2_000, (0, 100), LIMITS).is_some());
    assert_eq!(budget.adopt(adopted, 300), None);
}

proptest! {
    /// Whatever owners do: the bytes of all are within the limit, and a newcomer finds as much room as the greediest has.
    #[test]
    fn nobody_is_kept_out(steps in prop::collection::vec((0..6_u8, 1..900_u64, any::<prop::sample::Index>(), any::<bool>()), 1..80)) {
        let limits = Limits { leases: usize::MAX, bytes: 4_000 };
        let mut budget = Budget::default();
        let mut held: Vec<(u8, u64, u64)> = Vec::new();
        for (owner, bytes, which, gives_back) in steps {
            if gives_back && !held.is_empty() {
                let (_, _, id) = held.swap_remove(which.index(held.len()));
                budget.give_back(id);
            } else if let Some(id) = budget.take(&owner.to_string(), bytes, (0, 1), limits) {
                held.push((owner, bytes, id));
                let all: u64 = held.iter().map(|(_, bytes, _)| bytes).sum();
                let own: u64 = held.iter().filter(|one| one.0 == owner).map(|(_, bytes, _)| bytes).sum();
                prop_assert!(own + all <= 4_000, "what remains is as much as this owner has");
            }
        }
        for (_, _, id) in held {
            budget.give_back(id);
        }
        prop_assert!(budget.take("newcomer", 2_000, (0, 1), limits).is_some(), "nothing is left behind");
    }
}
