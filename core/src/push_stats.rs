//! The outcomes of a store's recent pushes, for the inspector (docs/inspector.md). They stay in memory, and hold no event
//! data.

use std::collections::VecDeque;

use serde::Serialize;

use crate::batch::Batch;
use crate::problem::Problem;

/// The number of pushes that are kept one by one.
pub const RECENT: usize = 50;

/// The characters of a refusal's text that are kept. Some texts quote the client.
const MAX_DETAIL: usize = 300;

/// Pushes, counted by outcome.
#[derive(Debug, Serialize)]
pub struct PushStats {
    /// The start of the count, in milliseconds of the Unix epoch.
    since: u64,
    /// The number of pushes by outcome, in the order of each outcome's first push.
    counts: Vec<(&'static str, u64)>,
    /// The last pushes, the oldest first.
    recent: VecDeque<Push>,
}

/// One push.
#[derive(Debug, Serialize)]
struct Push {
    /// The time of the answer, in milliseconds of the Unix epoch.
    at: u64,
    /// The duration in milliseconds.
    ms: u64,
    /// The batch; `None` if the body was not a batch.
    batch: Option<Batch>,
    outcome: &'static str,
    /// The refusal in words.
    detail: Option<String>,
}

impl PushStats {
    /// Starts the count. `now` is in milliseconds of the Unix epoch.
    pub fn new(now: u64) -> Self {
        Self { since: now, counts: Vec::new(), recent: VecDeque::new() }
    }

    /// Counts a push that was answered at `now`, after `ms` milliseconds. The outcome is a word for an acceptance, or the
    /// [`Problem::kind`] of the refusal.
    pub fn count(
        &mut self,
        now: u64,
        ms: u64,
        batch: Option<&Batch>,
        outcome: Result<&'static str, &Problem>,
    ) {
        let refusal = outcome.err();
        let outcome = outcome.unwrap_or_else(|problem| problem.kind);
        match self.counts.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((outcome, 1)),
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Push {
            at: now,
            ms,
            batch: batch.copied(),
            outcome,
            detail: refusal.map(|problem| problem.detail.chars().take(MAX_DETAIL).collect()),
        });
    }
}
