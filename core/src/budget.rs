//! The budget of an isolate's memory, and the leases on it.
//!
//! All requests and Durable Objects of an isolate share its 128 MB. Without a common bound, many stores could fill the
//! isolate. Without a fair share for each, one store could keep all others out.

/// The bounds of a budget.
///
/// An owner without a lease may take everything that is free. An owner with a lease may hold a quarter of what then remains
/// free. That is a fifth of the budget while the owner is alone, and less the more others hold.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLimits {
    /// The most leases of one owner, even if its share is larger.
    pub own_leases: usize,
    /// The most leases of all owners together: small leases take memory, too.
    pub leases: usize,
    /// The most bytes of all owners together.
    pub bytes: u64,
}

/// The leases of an isolate.
///
/// A lease counts until its owner gives it back, or until its time is over. When the runtime ends a request, it runs no
/// destructors, therefore some leases never come back.
#[derive(Debug, Default)]
pub struct Budget {
    /// At most [`BudgetLimits::leases`], and usually few: a search costs less than an index.
    all: Vec<Lease>,
    last: LeaseId,
}

/// Names a lease within its budget.
pub type LeaseId = u64;

#[derive(Debug)]
struct Lease {
    id: LeaseId,
    owner: String,
    bytes: u64,
    until: u64,
}

impl Budget {
    /// Leases bytes to an owner from `now` to `until`; `None` if that is too much.
    pub fn take(
        &mut self,
        owner: &str,
        bytes: u64,
        (now, until): (u64, u64),
        limits: BudgetLimits,
    ) -> Option<LeaseId> {
        self.all.retain(|lease| now < lease.until);
        let sum = |leases: &mut dyn Iterator<Item = &Lease>| {
            leases.fold((0, 0), |(n, sum), one| (n + 1, sum + one.bytes))
        };
        let (own_leases, own_bytes) =
            sum(&mut self.all.iter().filter(|lease| lease.owner == owner));
        let (leases, all_bytes) = sum(&mut self.all.iter());
        let free_leases = limits.leases.checked_sub(leases + 1)?;
        let free_bytes = limits.bytes.checked_sub(all_bytes + bytes)?;
        let is_fair = own_leases == 0
            || (own_leases < free_leases / 4 && own_bytes + bytes <= free_bytes / 4);
        (is_fair && own_leases < limits.own_leases).then(|| self.insert(owner.into(), bytes, until))
    }

    /// Moves a lease to another holder, under a new id. Giving back the old id then has no effect. `None` if the lease is
    /// over.
    pub fn adopt(&mut self, id: LeaseId, until: u64) -> Option<LeaseId> {
        let at = self.all.iter().position(|lease| lease.id == id)?;
        let Lease { owner, bytes, .. } = self.all.swap_remove(at);
        Some(self.insert(owner, bytes, until))
    }

    /// Reduces a lease to fewer bytes.
    pub fn shrink(&mut self, id: LeaseId, bytes: u64) {
        self.change(id, |lease| lease.bytes = lease.bytes.min(bytes));
    }

    /// Moves the end of a lease.
    pub fn renew(&mut self, id: LeaseId, until: u64) {
        self.change(id, |lease| lease.until = until);
    }

    /// Ends a lease.
    pub fn give_back(&mut self, id: LeaseId) {
        self.all.retain(|lease| lease.id != id);
    }

    fn insert(&mut self, owner: String, bytes: u64, until: u64) -> LeaseId {
        self.last += 1;
        self.all.push(Lease { id: self.last, owner, bytes, until });
        self.last
    }

    fn change(&mut self, id: LeaseId, change: impl FnOnce(&mut Lease)) {
        self.all.iter_mut().find(|lease| lease.id == id).map(change);
    }
}
