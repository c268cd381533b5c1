//! Leases on the budgets of this isolate. Its module state is shared by the Worker and all Sequencers in it, so a budget
//! here bounds what they hold together.

use std::cell::{OnceCell, RefCell};
use std::thread::LocalKey;
use std::time::Duration;

use worker::{Date, js_sys::Math};

use headwater_core::budget::{Budget, BudgetLimits, LeaseId};

thread_local! {
    /// Batches of pushes: those that are arriving, and those that wait in a Sequencer.
    pub static BATCHES: RefCell<Budget> = RefCell::default();
    /// Segments that are gathered for the edge cache.
    pub static FILLS: RefCell<Budget> = RefCell::default();

    /// Tells this isolate from others.
    static ISOLATE: OnceCell<String> = const { OnceCell::new() };
}

/// A part of a budget, until it is dropped or its time is over.
pub struct Lease {
    budget: &'static LocalKey<RefCell<Budget>>,
    id: LeaseId,
}

impl Lease {
    /// Takes so many bytes for an owner, who needs them no longer than that. `None` if it is too much.
    pub fn take(
        budget: &'static LocalKey<RefCell<Budget>>,
        owner: &str,
        bytes: u64,
        lasts: Duration,
        limits: BudgetLimits,
    ) -> Option<Self> {
        let times = (Date::now().as_millis(), end(lasts));
        let id = budget.with_borrow_mut(|budget| budget.take(owner, bytes, times, limits))?;
        Some(Self { budget, id })
    }

    /// Takes over the lease that another holder in this isolate [names](Self::name). `None` if it is over, or is one of
    /// another isolate.
    pub fn adopt(
        budget: &'static LocalKey<RefCell<Budget>>,
        name: &str,
        lasts: Duration,
    ) -> Option<Self> {
        let (isolate, id) = name.split_once(' ')?;
        let id = id.parse().ok().filter(|_| isolate == self::isolate())?;
        let id = budget.with_borrow_mut(|budget| budget.adopt(id, end(lasts)))?;
        Some(Self { budget, id })
    }

    /// How another holder can adopt it.
    pub fn name(&self) -> String {
        format!("{} {}", isolate(), self.id)
    }

    /// It is for fewer bytes than were taken.
    pub fn shrink(&self, bytes: u64) {
        self.budget.with_borrow_mut(|budget| budget.shrink(self.id, bytes));
    }

    /// It is needed for so long from now on.
    pub fn renew(&self, lasts: Duration) {
        self.budget.with_borrow_mut(|budget| budget.renew(self.id, end(lasts)));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.with_borrow_mut(|budget| budget.give_back(self.id));
    }
}

fn end(lasts: Duration) -> u64 {
    Date::now().as_millis().saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX))
}

fn isolate() -> String {
    ISOLATE.with(|isolate| isolate.get_or_init(|| Math::random().to_bits().to_string()).clone())
}
