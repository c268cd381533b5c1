//! What this isolate remembers of each store's tip, so that reads call the Sequencer seldom.

use std::cell::RefCell;

use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Offset, SeqNum};
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::sequencer::call::Incarnation;
use headwater_core::sequencer::{self, Answer, Need, Tip};

use crate::isolate::{Memory, now};

/// How long a tip is good for: reads call the Sequencer once in this time, a store and isolate.
const RECENT_MS: u64 = 30_000;

/// Stores whose tips are remembered.
const STORES: usize = 10_000;

/// A tip that was told at most [`RECENT_MS`] ago.
#[derive(Clone)]
pub struct KnownTip {
    /// The end of the log, with whose it is and up to where it is cut into segments.
    pub tip: Tip,
    /// What the Sequencer is to look for when it is asked next.
    pub need: Need,
}

impl KnownTip {
    /// Whether a segment may begin at the offset, or contain it.
    pub fn is_sealed_at(&self, offset: &Offset) -> bool {
        *offset < self.tip.sealed.offset
    }

    /// The incarnation that the offsets of its segments belong to.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation::of(&self.tip)
    }
}

impl From<Tip> for KnownTip {
    fn from(tip: Tip) -> Self {
        Self { tip, need: Need::Known }
    }
}

thread_local! {
    /// Keyed by the store's whole path, so that no tenant meets another. With the time at which each was told.
    static TIPS: RefCell<Memory<StorePath, (u64, KnownTip), STORES>> = RefCell::default();
}

/// The tip that is remembered, and whether it is recent.
pub fn get(store: &StorePath) -> Option<(KnownTip, bool)> {
    TIPS.with_borrow(|all| all.get(store).map(|(at, known)| (known.clone(), is_recent(*at))))
}

/// Remembers a tip as of now.
pub fn keep(store: &StorePath, known: KnownTip) {
    TIPS.with_borrow_mut(|all| all.insert(store.clone(), (now(), known)));
}

/// Remembers the tip that an answer of the Sequencer tells.
pub fn learn(store: &StorePath, answer: &Answer) {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => {
            keep(store, tip.clone().into())
        }
        Answer::Tip(None) => forget(store),
        _ => {}
    }
}

/// Forgets a tip: it is of another incarnation of the store.
pub fn forget(store: &StorePath) {
    TIPS.with_borrow_mut(|all| all.remove(store));
}

/// Takes note that a reader that asked for `asked` has seen the log end at `tail`.
pub fn observe_tail(store: &StorePath, asked: &Offset, tail: Offset) {
    change(store, |known| {
        if tail < known.tip.offset {
            // The log has lost something, or is another one.
            known.need = Need::Fresh;
        } else if tail > known.tip.offset && tail != *asked {
            // Some servers answer what lies beyond the tail with what was asked.
            known.need = match &known.need {
                Need::Fresh => Need::Fresh,
                Need::Reaching(seen) if *seen > tail => return,
                Need::Known | Need::Reaching(_) => Need::Reaching(tail),
            };
        }
    });
}

/// Takes note that the log is not what the Sequencer says.
pub fn invalidate(store: &StorePath) {
    change(store, |known| known.need = Need::Fresh);
}

/// The refusal of a push that needs no Sequencer, because a recent tip is enough: while many clients write at once, most
/// pushes are of clients that have not yet heard of the last one.
pub fn reject_if_stale(
    store: &StorePath,
    batch: &Batch,
    backend_id: Option<&BackendId>,
) -> Option<Problem> {
    TIPS.with_borrow(|all| {
        let (_, known) =
            all.get(store).filter(|(at, known)| is_recent(*at) && known.need != Need::Fresh)?;
        sequencer::reject_if_stale(&known.tip, batch, backend_id).as_ref().and_then(Answer::problem)
    })
}

/// The age in milliseconds and the head of a recent tip.
pub fn age_and_head(store: &StorePath) -> Option<(u64, SeqNum)> {
    TIPS.with_borrow(|all| {
        let (at, known) = all.get(store).filter(|(at, _)| is_recent(*at))?;
        Some((now().saturating_sub(*at), known.tip.head))
    })
}

fn is_recent(at: u64) -> bool {
    now().saturating_sub(at) < RECENT_MS
}

fn change(store: &StorePath, change: impl FnOnce(&mut KnownTip)) {
    TIPS.with_borrow_mut(|all| all.get_mut(store).map(|(_, known)| change(known)));
}
