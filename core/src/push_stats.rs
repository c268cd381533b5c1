//! What became of a store's pushes lately, for the inspector (docs/inspector.md). In memory only, and no event data.

use std::collections::VecDeque;

use serde::Serialize;

use crate::batch::Batch;
use crate::problem::Problem;

/// Pushes remembered one by one, at most.
pub const RECENT: usize = 50;

/// Characters of a refusal's words that are kept: some quote what the client sent.
const MAX_DETAIL: usize = 300;

/// Pushes, counted by what became of them.
#[derive(Debug, Serialize)]
pub struct PushStats {
    /// Since when, in milliseconds of the Unix epoch.
    since: u64,
    /// How many, by outcome, in the order in which the outcomes came up.
    counts: Vec<(&'static str, u64)>,
    /// The last ones, the oldest first.
    recent: VecDeque<Push>,
}

/// One push.
#[derive(Debug, Serialize)]
struct Push {
    /// When it was answered, in milliseconds of the Unix epoch.
    at: u64,
    /// How long that took, in milliseconds.
    ms: u64,
    /// What it brought; of a body that is no batch there is nothing to tell.
    batch: Option<Batch>,
    outcome: &'static str,
    /// Why it was refused, for a person.
    detail: Option<String>,
}

impl PushStats {
    /// Of pushes from now on; times are in milliseconds of the Unix epoch.
    pub fn new(now: u64) -> Self {
        Self { since: now, counts: Vec::new(), recent: VecDeque::new() }
    }

    /// Counts a push that is answered `now`, after so many milliseconds: by how it was accepted, else by the
    /// refusal's [`Problem::kind`].
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
