//! What an isolate remembers between requests, and how its requests share work.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use worker::{Date, Delay};

/// The runtime's clock, in milliseconds since 1970. It stands still between IO.
pub fn now() -> u64 {
    Date::now().as_millis()
}

/// A map that forgets everything when it is full: remembering is never more than a shortcut.
pub struct Memory<K, V, const MAX: usize>(HashMap<K, V>);

impl<K, V, const MAX: usize> Default for Memory<K, V, MAX> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V, const MAX: usize> Memory<K, V, MAX> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    pub fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.0.insert(key, value);
    }

    pub fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.make_room(&key);
        self.0.entry(key).or_insert_with(new)
    }

    fn make_room(&mut self, key: &K) {
        if self.0.len() >= MAX && !self.0.contains_key(key) {
            self.0.clear();
        }
    }
}

/// Waits while another request of this isolate does what this one needs too, but no longer than `patience`.
///
/// The runtime forbids that a request awaits a promise of another one. Therefore a request that begins such work leaves a
/// mark, and the others watch the mark.
pub async fn wait_while(mut is_under_way: impl FnMut() -> bool, patience: Duration) {
    let give_up = now() + patience.as_millis() as u64;
    let mut pause = 2;
    while is_under_way() && now() < give_up {
        Delay::from(Duration::from_millis(pause)).await;
        pause = (2 * pause).min(64);
    }
}
