//! The times of a request's parts, for `Server-Timing` and for the request log.

use std::fmt::Write;

use serde::{Serialize, Serializer};

/// The laps of one request, in milliseconds. The runtime's clock stands still between IO, therefore a lap measures a wait.
#[derive(Clone, Debug)]
pub struct Timing {
    began: u64,
    since: u64,
    laps: Vec<(&'static str, u64)>,
}

impl Timing {
    /// Starts the first lap.
    pub fn start(now: u64) -> Self {
        Self { began: now, since: now, laps: Vec::new() }
    }

    /// Ends a lap and starts the next one.
    pub fn lap(&mut self, name: &'static str, now: u64) {
        self.laps.push((name, now.saturating_sub(self.since)));
        self.since = now;
    }

    /// The milliseconds of a lap; 0 if there is no lap with that name.
    pub fn of(&self, name: &str) -> u64 {
        self.laps.iter().find(|(lap, _)| *lap == name).map_or(0, |(_, took)| *took)
    }

    /// The milliseconds since the start.
    pub fn total(&self, now: u64) -> u64 {
        now.saturating_sub(self.began)
    }

    /// The value of `Server-Timing`.
    pub fn header(&self, total: u64) -> String {
        let mut header = String::new();
        for (name, took) in &self.laps {
            // Writing to a string does not fail.
            let _ = write!(header, "{name};dur={took}, ");
        }
        let _ = write!(header, "total;dur={total}");
        header
    }
}

/// An object with one member for each lap.
impl Serialize for Timing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.laps.iter().copied())
    }
}
