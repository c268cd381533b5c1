//! The isolate: its clock, its memory, and waiting for work that another request does.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use futures::future::{Either, select};
use worker::{Date, Delay};

/// The runtime's clock, in milliseconds since 1970. It stands still between IO.
pub(crate) fn now_ms() -> u64 {
    Date::now().as_millis()
}

/// A duration in whole milliseconds.
pub(crate) fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A map that forgets everything when it is full. Every entry is a shortcut: losing one costs only time.
pub(crate) struct Memory<K, V, const MAX: usize>(HashMap<K, V>);

impl<K, V, const MAX: usize> Default for Memory<K, V, MAX> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V, const MAX: usize> Memory<K, V, MAX> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.0.insert(key, value);
    }

    pub(crate) fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.make_room(&key);
        self.0.entry(key).or_insert_with(new)
    }

    fn make_room(&mut self, key: &K) {
        if self.0.len() >= MAX && !self.0.contains_key(key) {
            self.0.clear();
        }
    }
}

/// Waits while another request of this isolate does work that this request needs too. Gives up after `timeout`.
///
/// The runtime forbids a request to await a promise of another request. Therefore a request that begins such work marks it
/// in the isolate's memory, and the others poll the mark.
pub(crate) async fn wait_while(mut is_under_way: impl FnMut() -> bool, timeout: Duration) {
    let deadline = now_ms() + as_ms(timeout);
    let mut pause_ms = 2;
    while is_under_way() && now_ms() < deadline {
        Delay::from(Duration::from_millis(pause_ms)).await;
        pause_ms = (2 * pause_ms).min(64);
    }
}

/// The work took longer than its timeout.
#[derive(Debug)]
pub(crate) struct TimedOut;

/// Waits for `work`, but no longer than `timeout`.
pub(crate) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = T> + Unpin,
) -> Result<T, TimedOut> {
    match select(work, Delay::from(timeout)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(TimedOut),
    }
}
