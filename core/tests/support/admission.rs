//! The protocol's rule for appends: which one a server takes, by its producer (§5.2.1) and by the fence (§5.2).

use headwater_core::event::SeqNum;

/// What a server remembers of the appends that it took. The model hashes it in each of its states, therefore it is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Admission {
    /// The last `Stream-Seq`, as a number: `fence` in `core/src/event.rs` shows that the texts sort in the same way.
    pub fence: Option<SeqNum>,
    /// The Sequencers' epoch and last sequence as a producer.
    pub producer: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// The server has seen this sequence already (204, "duplicate").
    Duplicate,
    /// The epoch is old, or the sequence does not follow the last one.
    OutOfSequence,
    /// The fence refuses the parent.
    Fenced,
}

impl Admission {
    /// Judges an append of a producer with this epoch and sequence.
    pub fn judge(self, parent: SeqNum, (epoch, producer_seq): (u64, u64)) -> Verdict {
        let follows = match self.producer {
            None => producer_seq == 0,
            Some((known, _)) if epoch > known => producer_seq == 0,
            Some((known, last)) if epoch == known && producer_seq <= last => {
                return Verdict::Duplicate;
            }
            Some((known, last)) => epoch == known && producer_seq == last + 1,
        };
        if !follows {
            Verdict::OutOfSequence
        } else if self.is_fenced(parent) {
            Verdict::Fenced
        } else {
            Verdict::Append
        }
    }

    /// Whether the fence refuses a batch with this parent.
    pub fn is_fenced(self, parent: SeqNum) -> bool {
        self.fence.is_some_and(|last| parent <= last)
    }

    /// Remembers an append that landed.
    pub fn landed(&mut self, parent: SeqNum, producer: (u64, u64)) {
        *self = Self { fence: Some(parent), producer: Some(producer) };
    }

    /// Forgets everything, as a server that crashes may.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
