//! Leases on the isolate's memory budgets. The Worker and all Sequencers of an isolate share its module state. Therefore a
//! budget here bounds what they hold together.

use std::cell::{OnceCell, RefCell};
use std::thread::LocalKey;
use std::time::Duration;

use headwater_core::budget::{Budget, BudgetLimits, LeaseId};
use worker::js_sys::Math;

use crate::isolate::{as_ms, now_ms};

thread_local! {
    /// Batches of pushes: those that the Worker receives, and those that wait in a Sequencer.
    pub(crate) static BATCHES: RefCell<Budget> = RefCell::default();
    /// Segments that fills hold until the edge cache has them.
    pub(crate) static FILLS: RefCell<Budget> = RefCell::default();

    /// Tells this isolate from others.
    static ISOLATE_ID: OnceCell<String> = const { OnceCell::new() };
}

/// A share of a budget, held until it is dropped or expires.
pub(crate) struct Lease {
    budget: &'static LocalKey<RefCell<Budget>>,
    id: LeaseId,
}

impl Lease {
    /// Takes `bytes` for an owner, for at most `duration`. `None` if the budget does not allow it.
    pub(crate) fn take(
        budget: &'static LocalKey<RefCell<Budget>>,
        owner: &str,
        bytes: u64,
        duration: Duration,
        limits: BudgetLimits,
    ) -> Option<Self> {
        let times = (now_ms(), expiry_ms(duration));
        let id = budget.with_borrow_mut(|budget| budget.take(owner, bytes, times, limits))?;
        Some(Self { budget, id })
    }

    /// Takes over the lease that another holder in this isolate [names](Self::name). `None` if the lease has expired or
    /// belongs to another isolate.
    pub(crate) fn adopt(
        budget: &'static LocalKey<RefCell<Budget>>,
        name: &str,
        duration: Duration,
    ) -> Option<Self> {
        let (isolate, id) = name.split_once(' ')?;
        let id = id.parse().ok().filter(|_| isolate == isolate_id())?;
        let id = budget.with_borrow_mut(|budget| budget.adopt(id, expiry_ms(duration)))?;
        Some(Self { budget, id })
    }

    /// The name by which another holder can adopt the lease.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", isolate_id(), self.id)
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&self, bytes: u64) {
        self.budget.with_borrow_mut(|budget| budget.shrink(self.id, bytes));
    }

    /// Lets the lease last for `duration` from now.
    pub(crate) fn renew(&self, duration: Duration) {
        self.budget.with_borrow_mut(|budget| budget.renew(self.id, expiry_ms(duration)));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.with_borrow_mut(|budget| budget.give_back(self.id));
    }
}

fn expiry_ms(duration: Duration) -> u64 {
    now_ms().saturating_add(as_ms(duration))
}

fn isolate_id() -> String {
    ISOLATE_ID.with(|id| id.get_or_init(|| Math::random().to_bits().to_string()).clone())
}
