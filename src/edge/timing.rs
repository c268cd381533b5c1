//! `Server-Timing`: where a read spent its time.

use std::fmt::Write;

use worker::Date;

/// The laps of one request, in milliseconds. The runtime's clock stands still between IO, so these are
/// the waits.
pub struct Timing {
    since: u64,
    laps: String,
}

impl Timing {
    /// Starts the first lap.
    pub fn start() -> Self {
        Self { since: Date::now().as_millis(), laps: String::new() }
    }

    /// Ends a lap and starts the next one.
    pub fn lap(&mut self, name: &str) {
        let now = Date::now().as_millis();
        let comma = if self.laps.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(self.laps, "{comma}{name};dur={}", now.saturating_sub(self.since));
        self.since = now;
    }

    /// The header's value.
    pub fn report(self) -> String {
        self.laps
    }
}
