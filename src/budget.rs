//! A bounded amount of an isolate's memory, and who holds how much of it. Pure: tested on any host.
//!
//! Module state is shared by every request and object of an isolate, and so are its 128 MB. Without a bound for all, many
//! stores could fill the isolate; without a fair share for each, one store could keep all others out.

use std::collections::HashMap;

/// How much may be held at once.
///
/// Whoever holds nothing may take what is free. Whoever holds something may hold a quarter of what then remains free: a
/// fifth of all while it is alone, and less the more others hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
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
    leases: HashMap<LeaseId, Lease>,
    owners: HashMap<String, Share>,
    bytes: u64,
    last: LeaseId,
    /// When expired leases were last looked for.
    swept: u64,
}

/// Names a lease within its budget.
pub type LeaseId = u64;

#[derive(Debug)]
struct Lease {
    owner: String,
    bytes: u64,
    until: u64,
}

#[derive(Debug, Default)]
struct Share {
    leases: usize,
    bytes: u64,
}

/// How often expired leases are looked for, in milliseconds, while nobody is refused.
const SWEEP_MS: u64 = 1_000;

impl Budget {
    /// Leases so many bytes to an owner, between `now` and `until`; `None` if that is too much.
    pub fn take(&mut self, owner: &str, bytes: u64, (now, until): (u64, u64), limits: Limits) -> Option<LeaseId> {
        if now >= self.swept + SWEEP_MS || !self.has_room(owner, bytes, limits) {
            self.sweep(now);
        }
        self.has_room(owner, bytes, limits).then(|| self.insert(Lease { owner: owner.into(), bytes, until }))
    }

    /// Hands a lease on to another holder, who knows it by another name. Giving it back by its old name has no effect
    /// from now on. `None` if it is over.
    pub fn adopt(&mut self, id: LeaseId, until: u64) -> Option<LeaseId> {
        let lease = self.remove(id)?;
        Some(self.insert(Lease { until, ..lease }))
    }

    /// A lease is for fewer bytes than were taken.
    pub fn shrink(&mut self, id: LeaseId, bytes: u64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            let spare = lease.bytes.saturating_sub(bytes);
            lease.bytes -= spare;
            self.bytes -= spare;
            if let Some(share) = self.owners.get_mut(&lease.owner) {
                share.bytes -= spare;
            }
        }
    }

    /// A lease ends later.
    pub fn renew(&mut self, id: LeaseId, until: u64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.until = until;
        }
    }

    /// A lease is needed no longer.
    pub fn give_back(&mut self, id: LeaseId) {
        self.remove(id);
    }

    fn has_room(&self, owner: &str, bytes: u64, limits: Limits) -> bool {
        let (leases, own) = self.owners.get(owner).map_or((0, 0), |share| (share.leases, share.bytes));
        let free_leases = limits.leases.checked_sub(self.leases.len() + 1);
        let free_bytes = limits.bytes.checked_sub(self.bytes + bytes);
        let Some((free_leases, free_bytes)) = free_leases.zip(free_bytes) else { return false };
        let is_fair = leases == 0 || (leases < free_leases / 4 && own + bytes <= free_bytes / 4);
        is_fair && leases < limits.own_leases
    }

    fn sweep(&mut self, now: u64) {
        self.swept = now;
        let expired: Vec<LeaseId> = self.leases.iter().filter(|(_, one)| now >= one.until).map(|(id, _)| *id).collect();
        for id in expired {
            self.remove(id);
        }
    }

    fn insert(&mut self, lease: Lease) -> LeaseId {
        let share = self.owners.entry(lease.owner.clone()).or_default();
        share.leases += 1;
        share.bytes += lease.bytes;
        self.bytes += lease.bytes;
        self.last += 1;
        self.leases.insert(self.last, lease);
        self.last
    }

    fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        self.bytes -= lease.bytes;
        if let Some(share) = self.owners.get_mut(&lease.owner) {
            share.leases -= 1;
            share.bytes -= lease.bytes;
            if share.leases == 0 {
                self.owners.remove(&lease.owner);
            }
        }
        Some(lease)
    }
}
