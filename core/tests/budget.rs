//! The budget of an isolate's memory, and its fair shares.

use headwater_core::budget::{Budget, BudgetLimits};
use proptest::prelude::*;

const LIMITS: BudgetLimits = BudgetLimits { own_leases: 3, leases: 100, bytes: 4_000 };

#[test]
fn an_owner_with_its_most_leases_gets_no_other() {
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
fn leases_are_shared_fairly_like_bytes() {
    let limits = BudgetLimits { own_leases: 100, leases: 20, bytes: u64::MAX };
    let mut budget = Budget::default();
    let mut taken = |owner: &str| {
        (0..20).take_while(|_| budget.take(owner, 1, (0, 100), limits).is_some()).count()
    };
    assert_eq!([taken("a"), taken("b"), taken("c"), taken("d")], [4, 3, 2, 2]);
    assert_eq!(
        (0..20).map(|n| taken(&format!("newcomer {n}"))).sum::<usize>(),
        9,
        "the budget does not hold 20 leases"
    );
}

#[test]
fn a_first_lease_may_take_all_and_another_a_quarter_of_the_rest() {
    let mut budget = Budget::default();
    let mut take = |owner: &str, bytes| budget.take(owner, bytes, (0, 100), LIMITS).is_some();
    assert!(take("a", 400) && take("a", 400), "800 of 4,000, a quarter of the 3,200 that remain");
    assert!(!take("a", 1));
    assert!(
        take("b", 320) && !take("b", 321) && take("b", 256),
        "576, a quarter of the 2,624 that remain"
    );
    assert!(!take("c", 2_625) && take("c", 2_624), "a first lease has another bound");
    assert!(!take("d", 1));
}

#[test]
fn a_lease_that_shrinks_frees_its_bytes() {
    let mut budget = Budget::default();
    let lease = budget.take("a", 1_000, (0, 100), LIMITS).unwrap();
    assert_eq!(budget.take("a", 400, (0, 100), LIMITS), None);
    budget.shrink(lease, 400);
    budget.shrink(lease, 500);
    assert!(budget.take("a", 400, (0, 100), LIMITS).is_some(), "the lease grew again");
    assert_eq!(budget.take("a", 1, (0, 100), LIMITS), None);
}

#[test]
fn a_lease_that_is_never_given_back_counts_until_its_end() {
    let mut budget = Budget::default();
    let lease = budget.take("a", 4_000, (0, 100), LIMITS).unwrap();
    assert!(budget.take("b", 1, (99, 199), LIMITS).is_none());
    budget.renew(lease, 150);
    assert!(budget.take("b", 1, (100, 200), LIMITS).is_none());
    assert!(budget.take("b", 4_000, (150, 250), LIMITS).is_some());
}

#[test]
fn an_adopted_lease_counts_once_and_belongs_to_its_new_holder() {
    let mut budget = Budget::default();
    let first = budget.take("a", 4_000, (0, 100), LIMITS).unwrap();
    let adopted = budget.adopt(first, 200).unwrap();
    budget.give_back(first);
    assert!(budget.take("b", 1, (0, 100), LIMITS).is_none(), "the adopted lease does not count");
    assert!(budget.take("b", 1, (199, 299), LIMITS).is_none(), "the adopted lease ends too early");
    budget.give_back(adopted);
    assert!(budget.take("b", 4_000, (0, 100), LIMITS).is_some());
    assert_eq!(budget.adopt(adopted, 300), None);
}

proptest! {
    /// All leases together stay within the limit. An owner with several leases holds at most a quarter of the bytes
    /// that were free after its last one.
    #[test]
    fn no_owner_takes_more_than_its_share(
        steps in prop::collection::vec((0..6_u8, 1..900_u64, any::<prop::sample::Index>(), any::<bool>()), 1..80),
    ) {
        let limits = BudgetLimits { own_leases: usize::MAX, leases: usize::MAX, bytes: 4_000 };
        let mut budget = Budget::default();
        let mut held: Vec<(u8, u64, u64)> = Vec::new();
        for (owner, bytes, which, gives_back) in steps {
            if gives_back && !held.is_empty() {
                let (_, _, id) = held.swap_remove(which.index(held.len()));
                budget.give_back(id);
            } else if let Some(id) = budget.take(&owner.to_string(), bytes, (0, 1), limits) {
                held.push((owner, bytes, id));
                let own: Vec<u64> = held.iter().filter(|one| one.0 == owner).map(|one| one.1).collect();
                let all: u64 = held.iter().map(|one| one.1).sum();
                prop_assert!(all <= 4_000);
                prop_assert!(own.len() == 1 || 4 * own.iter().sum::<u64>() <= 4_000 - all);
            }
        }
        for (_, _, id) in held {
            budget.give_back(id);
        }
        prop_assert!(budget.take("newcomer", 4_000, (0, 1), limits).is_some(), "a lease was left behind");
    }
}
