//! The bodies that are arriving in one isolate, and how many may.
//!
//! A body takes memory while it arrives, and may take long. Without a bound, one caller could fill the isolate with bodies
//! that never end; with one for the isolate alone, keep everybody else out of it.

use crate::names::StorePath;

/// How much may arrive at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bodies a store (`MAX_IN_FLIGHT`).
    pub bodies: usize,
    /// Bytes of all stores together (`MAX_IN_FLIGHT_BYTES`); of one store, a quarter.
    pub bytes: usize,
}

/// The bodies that are arriving now.
#[derive(Debug, Default)]
pub struct Arrivals {
    all: Vec<Arrival>,
    last: u64,
}

#[derive(Debug)]
struct Arrival {
    name: u64,
    store: StorePath,
    bytes: usize,
    until: u64,
}

impl Arrivals {
    /// One more, of at most so many bytes, between `now` and `until`; `None` if that is too much. What comes back is its name.
    ///
    /// It counts until it is done, or its time is over: the runtime drops nothing of a request that it ends.
    pub fn begin(&mut self, store: &StorePath, bytes: usize, (now, until): (u64, u64), limits: Limits) -> Option<u64> {
        self.all.retain(|one| now < one.until);
        let of_store: Vec<usize> = self.all.iter().filter(|one| one.store == *store).map(|one| one.bytes).collect();
        let everything = self.all.iter().map(|one| one.bytes).sum::<usize>() + bytes;
        if of_store.len() >= limits.bodies
            || of_store.iter().sum::<usize>() + bytes > limits.bytes / 4
            || everything > limits.bytes
        {
            return None;
        }
        self.last += 1;
        self.all.push(Arrival { name: self.last, store: store.clone(), bytes, until });
        Some(self.last)
    }

    /// It has arrived, or will not.
    pub fn done(&mut self, name: u64) {
        self.all.retain(|one| one.name != name);
    }
}
