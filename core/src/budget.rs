//! A bounded amount of an isolate's memory, and who holds how much of it. Pure: tested on any host.
//!
//! Module state is shared by every request and object of an isolate, and so are its 128 MB. Without a bound for all, many
//! stores could fill the isolate; without a fair share for each, one store could keep all others out.

/// How much may be held at once.
///
/// Whoever holds nothing may take what is free. Whoever holds something may hold a quarter of what then remains free: a
/// fifth of all while it is alone, and less the more others hold.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLimits {
    /// Leases of one owner, even where its share is larger.
    pub own_leases: usize,
    /// Leases of all owners together: what is small takes memory, too.
    pub leases: usize,
    /// Bytes of all owners together.
    pub bytes: u64,
}

/// What is held, by whom.
///
/// A lease counts until it is given back, or until its time is over: the runtime drops nothing of a request that it ends.
#[derive(Debug, Default)]
pub struct Budget {
    /// There are [`BudgetLimits::leases`] at most, and few as a rule: to look through them costs less than to index them.
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
    /// Leases so many bytes to an owner, between `now` and `until`; `None` if that is too much.
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

    /// Hands a lease on to another holder, who knows it by another name. Giving it back by its old name has no effect
    /// from now on. `None` if it is over.
    pub fn adopt(&mut self, id: LeaseId, until: u64) -> Option<LeaseId> {
        let at = self.all.iter().position(|lease| lease.id == id)?;
        let Lease { owner, bytes, .. } = self.all.swap_remove(at);
        Some(self.insert(owner, bytes, until))
    }

    /// A lease is for fewer bytes than were taken.
    pub fn shrink(&mut self, id: LeaseId, bytes: u64) {
        self.change(id, |lease| lease.bytes = lease.bytes.min(bytes));
    }

    /// A lease ends later.
    pub fn renew(&mut self, id: LeaseId, until: u64) {
        self.change(id, |lease| lease.until = until);
    }

    /// A lease is needed no longer.
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
