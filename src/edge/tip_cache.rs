//! The isolate's memory of each store's tip. Thanks to it, most reads don't call the Sequencer.

use std::cell::RefCell;

use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Offset, SeqNum};
use headwater_core::log::LogAddress;
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::sequencer::call::Incarnation;
use headwater_core::sequencer::{self, Answer, Need, Tip};

use crate::isolate::{Memory, now_ms};

/// How long a tip counts as recent. In this time the reads of a store and isolate call the Sequencer once.
const RECENT_MS: u64 = 30_000;

/// How many stores have their tips remembered.
const STORES: usize = 10_000;

/// A tip that the Sequencer told, and what readers have noticed since.
#[derive(Clone)]
pub(super) struct KnownTip {
    pub(super) tip: Tip,
    /// How fresh the tip must be that the next call asks for.
    pub(super) need: Need,
}

impl KnownTip {
    /// Whether the offset lies in sealed history.
    pub(super) fn is_sealed_at(&self, offset: &Offset) -> bool {
        *offset < self.tip.sealed.offset
    }

    /// The incarnation to which the offsets belong.
    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation::of(&self.tip)
    }
}

impl From<Tip> for KnownTip {
    fn from(tip: Tip) -> Self {
        Self { tip, need: Need::Known }
    }
}

thread_local! {
    /// The time in milliseconds at which each tip was told, and the tip. The key is the store's whole path: one tenant
    /// never meets another.
    static TIPS: RefCell<Memory<StorePath, (u64, KnownTip), STORES>> = RefCell::default();
}

thread_local! {
    /// Where the log of each store is.
    static ADDRESSES: RefCell<Memory<StorePath, LogAddress, STORES>> = RefCell::default();
}

/// Where the log was when the Sequencer last told; `None` if it has not told.
pub(super) fn address(store: &StorePath) -> Option<LogAddress> {
    ADDRESSES.with_borrow(|all| all.get(store).copied())
}

/// Remembers where the log is.
pub(super) fn learn_address(store: &StorePath, address: LogAddress) {
    ADDRESSES.with_borrow_mut(|all| all.insert(store.clone(), address));
}

/// Forgets where the log is, so that the next read asks.
pub(super) fn forget_address(store: &StorePath) {
    ADDRESSES.with_borrow_mut(|all| all.remove(store));
}

/// The remembered tip, and whether it is recent.
pub(super) fn get(store: &StorePath) -> Option<(KnownTip, bool)> {
    TIPS.with_borrow(|all| {
        all.get(store).map(|(told_ms, known)| (known.clone(), is_recent(*told_ms)))
    })
}

/// Remembers a tip as of now.
pub(super) fn keep(store: &StorePath, known: KnownTip) {
    TIPS.with_borrow_mut(|all| all.insert(store.clone(), (now_ms(), known)));
}

/// Remembers the tip in an answer of the Sequencer.
pub(super) fn learn(store: &StorePath, answer: &Answer) {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => {
            keep(store, tip.clone().into());
        }
        Answer::Tip(None) | Answer::Deleted => forget(store),
        _ => {}
    }
}

/// Forgets a tip, because it belongs to another incarnation of the store.
pub(super) fn forget(store: &StorePath) {
    TIPS.with_borrow_mut(|all| all.remove(store));
}

/// Notes that a reader that asked for the offset `asked` saw the log end at `tail`. Returns whether the Sequencer
/// should hear of it: somebody may have appended behind its back, and its sockets wait for the news.
pub(super) fn observe_tail(store: &StorePath, asked: &Offset, tail: Offset) -> bool {
    let mut is_news = false;
    change(store, |known| {
        is_news = tail != known.tip.offset && known.need == Need::Known;
        if tail < known.tip.offset {
            // The log lost something, or is another one.
            known.need = Need::Fresh;
        } else if tail > known.tip.offset && tail != *asked {
            // If the tail is the offset that was asked, it proves nothing: some servers repeat an offset beyond their tail.
            known.need = match &known.need {
                Need::Fresh => Need::Fresh,
                Need::Reaching(seen) if *seen > tail => return,
                Need::Known | Need::Reaching(_) => Need::Reaching(tail),
            };
        }
        is_news = is_news && known.need != Need::Known;
    });
    is_news
}

/// Notes that the log is not what the Sequencer says.
pub(super) fn invalidate(store: &StorePath) {
    change(store, |known| known.need = Need::Fresh);
}

/// The refusal of a stale push, if a recent tip is enough to refuse it. While many clients write at once, most pushes come
/// from clients that have not received the last one yet. These pushes don't reach the Sequencer.
pub(super) fn reject_if_stale(
    store: &StorePath,
    batch: &Batch,
    backend_id: Option<&BackendId>,
) -> Option<Problem> {
    TIPS.with_borrow(|all| {
        let (_, known) = all
            .get(store)
            .filter(|(told_ms, known)| is_recent(*told_ms) && known.need != Need::Fresh)?;
        sequencer::reject_if_stale(&known.tip, batch, backend_id).as_ref().and_then(Answer::problem)
    })
}

/// The age in milliseconds and the head of a recent tip.
pub(super) fn age_ms_and_head(store: &StorePath) -> Option<(u64, SeqNum)> {
    TIPS.with_borrow(|all| {
        let (told_ms, known) = all.get(store).filter(|(told_ms, _)| is_recent(*told_ms))?;
        Some((now_ms().saturating_sub(*told_ms), known.tip.head))
    })
}

fn is_recent(told_ms: u64) -> bool {
    now_ms().saturating_sub(told_ms) < RECENT_MS
}

fn change(store: &StorePath, change: impl FnOnce(&mut KnownTip)) {
    TIPS.with_borrow_mut(|all| all.get_mut(store).map(|(_, known)| change(known)));
}
