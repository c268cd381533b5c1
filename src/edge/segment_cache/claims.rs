//! The isolate's memory of fills: segments that a fill is about to cache, and keys at which a fill failed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::isolate::{Memory, now_ms};

/// How long a claim lasts without progress of its fill.
const CLAIM_MS: u64 = 5_000;

/// How long a key is avoided.
const AVOID_MS: u64 = 60_000;

/// How many keys are avoided at most. Beyond it the isolate forgets all, which costs one attempt for each.
const AVOIDED_KEYS: usize = 10_000;

thread_local! {
    /// The claimed keys, with the end of the claim in milliseconds and the claiming fill.
    static CLAIMED: RefCell<HashMap<String, (u64, u64)>> = RefCell::default();
    static LAST_FILL: Cell<u64> = const { Cell::new(0) };

    /// The avoided keys, with the end of the avoidance in milliseconds.
    static AVOIDED: RefCell<Memory<String, (u64, Avoid), AVOIDED_KEYS>> = RefCell::default();
}

/// The keys that one fill has claimed. A claim ends with its fill, or with its time: the runtime may end a request without
/// dropping anything of it.
pub(super) struct FillClaims {
    fill: u64,
    keys: Vec<String>,
}

impl FillClaims {
    pub(super) fn on(key: String) -> Self {
        let fill = LAST_FILL.get() + 1;
        LAST_FILL.set(fill);
        let mut claims = Self { fill, keys: Vec::new() };
        claims.extend([key]);
        claims
    }

    pub(super) fn has(key: &str) -> bool {
        CLAIMED.with_borrow(|all| all.get(key).is_some_and(|(until, _)| now_ms() < *until))
    }

    pub(super) fn extend(&mut self, keys: impl IntoIterator<Item = String>) {
        self.keys.extend(keys);
        self.renew();
    }

    /// Gives up one key, and renews the others.
    pub(super) fn release(&mut self, key: &str) {
        self.keys.retain(|claimed| claimed != key);
        CLAIMED.with_borrow_mut(|all| all.remove(key));
        self.renew();
    }

    fn renew(&self) {
        let now = now_ms();
        let until = now + CLAIM_MS;
        CLAIMED.with_borrow_mut(|all| {
            all.retain(|_, (until, _)| now < *until);
            all.extend(self.keys.iter().map(|key| (key.clone(), (until, self.fill))));
        });
    }
}

impl Drop for FillClaims {
    fn drop(&mut self) {
        CLAIMED.with_borrow_mut(|all| all.retain(|_, (_, fill)| *fill != self.fill));
    }
}

/// Why a key is avoided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Avoid {
    /// The edge cache did not keep the segment. (On workers.dev there is no edge cache.)
    Cache,
    /// The log does not fit the index.
    Index,
}

impl Avoid {
    pub(super) fn at(key: &str) -> Option<Self> {
        let (until, avoid) = AVOIDED.with_borrow(|all| all.get(key).copied())?;
        (now_ms() < until).then_some(avoid)
    }

    pub(super) fn set(self, key: String) {
        AVOIDED.with_borrow_mut(|all| all.insert(key, (now_ms() + AVOID_MS, self)));
    }
}
