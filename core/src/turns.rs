//! Turns: which of several contending writers pushes next (docs/internals/life-of-a-push.md, "Turns").
//!
//! Of the pushes that contend for one head, one lands and all others are refused. Without turns, the quickest writer wins
//! again and again. Therefore the Sequencer keeps the writers that were refused, or said that they hold a batch, in a line.
//! Each news of the log names the line. The first writer pushes at once. Each other writer waits for the next news, or
//! until the writers before it have had [`Turns::patience_ms`] each.
//!
//! Turns are a courtesy: the Sequencer accepts whatever follows the head. They decide nothing about the log.
//!
//! - **Nobody starves.** A writer in the line that answers its turns lands a batch within as many acceptances as the line
//!   was long.
//! - **A writer that vanishes costs one wait**, and none if its socket closed.

use std::collections::VecDeque;

/// The most writers that the news names. The writers behind them wait as the last of these.
pub const NAMED_WRITERS: usize = 16;

/// The bounds of [`Turns::patience_ms`].
const PATIENCE_MS: std::ops::RangeInclusive<u64> = 20..=1_000;

/// How often the usual answer of a writer fits into the patience for it.
const PATIENCE_FACTOR: u64 = 4;

/// The first guess of a writer's answer.
const FIRST_GUESS_MS: u64 = 50;

/// The line of the writers of one store. `W` names a writer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turns<W> {
    line: VecDeque<W>,
    /// When the writer at the front learned that it is its turn, in milliseconds.
    since_ms: u64,
    /// How long writers take to answer their turns: a moving average, in milliseconds.
    answer_ms: u64,
}

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self { line: VecDeque::new(), since_ms: 0, answer_ms: FIRST_GUESS_MS }
    }
}

impl<W: Copy + PartialEq> Turns<W> {
    /// A writer was refused, or says that it holds a batch. It stands in line.
    pub fn want(&mut self, writer: W, now_ms: u64) {
        if self.line.is_empty() {
            self.since_ms = now_ms;
        }
        if !self.line.contains(&writer) {
            self.line.push_back(writer);
        }
    }

    /// A batch has landed; `writer` is its writer, if it has a socket. The next turn begins.
    pub fn land(&mut self, writer: Option<W>, now_ms: u64) {
        let waited_ms = now_ms.saturating_sub(self.since_ms);
        if self.line.front().copied() == writer && writer.is_some() {
            self.answer_ms = (3 * self.answer_ms + waited_ms) / 4;
        } else {
            // These had their time. One that is only slow is refused, and stands in line again. A writer that somebody
            // overtook before its time was over keeps its place.
            let missed = usize::try_from(waited_ms / self.patience_ms()).unwrap_or(usize::MAX);
            self.line.drain(..missed.min(self.line.len()));
        }
        if let Some(writer) = writer {
            self.leave(writer);
        }
        self.since_ms = now_ms;
    }

    /// A writer has left, or its batch has landed.
    pub fn leave(&mut self, writer: W) {
        self.line.retain(|one| *one != writer);
    }

    /// The writers whose turns are next, in their order; at most [`NAMED_WRITERS`].
    pub fn next(&self) -> impl Iterator<Item = W> {
        self.line.iter().take(NAMED_WRITERS).copied()
    }

    /// The number of writers that stand in line.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether nobody contends.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// How long each writer waits for every writer before it, in milliseconds.
    pub fn patience_ms(&self) -> u64 {
        (PATIENCE_FACTOR * self.answer_ms).clamp(*PATIENCE_MS.start(), *PATIENCE_MS.end())
    }
}
