//! The terms that every part shares: sequence numbers, offsets, backend ids, the fence and the fingerprint.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// A LiveStore global sequence number: an integer from 0 (the root, no event) to 2^53-1, the largest that JavaScript
/// holds exactly.
pub type SeqNum = u64;

/// The largest sequence number, `Number.MAX_SAFE_INTEGER`.
pub const MAX_SEQ_NUM: SeqNum = (1 << 53) - 1;

/// LiveStore's root: the parent of the first event, and the head of a store without events
/// (`EventSequenceNumber.Client.ROOT.global` in `@livestore/common`).
pub const ROOT: SeqNum = 0;

/// A position in the stream as the upstream names it: opaque, but it sorts by its bytes (protocol §8).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub String);

impl Offset {
    /// The protocol's name for the beginning of a stream (§8).
    pub const START: &'static str = "-1";
}

/// The position at which a read begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// At an offset, which may be [`Offset::START`].
    Offset(Offset),
    /// At the append that holds the event after this `seqNum`.
    After(SeqNum),
}

/// The id of one incarnation of a store's log. A reset begins another incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackendId(pub String);

impl BackendId {
    /// The id of a stream without a header (docs/http-api.md, "The header"); `path` is the store's encoded path.
    pub fn implicit(path: &str) -> Self {
        Self(format!("path:{path}"))
    }
}

/// The `Stream-Seq` of an append: the batch's parent. The upstream refuses a value that is not greater than the last one
/// (protocol §5.2). Therefore it takes only the first of two batches on one parent, and refuses every stale batch. Zeros
/// pad the number, because the protocol compares it byte by byte.
pub fn fence(parent: SeqNum) -> String {
    format!("{parent:016}")
}

/// A hash of the bytes of a batch's events (XXH3, 128 bits). It recognizes a batch that is pushed again, or that is
/// read back after an append with an unknown outcome. It guards against accident, not against a client that forges its
/// own batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(#[serde(with = "hex")] pub u128);

/// Builds a [`Fingerprint`] event by event. White space between events does not count.
#[derive(Clone, Default)]
pub struct Fingerprinter(Xxh3);

impl Fingerprinter {
    /// Adds the exact bytes of the next event.
    pub fn event(&mut self, json: &[u8]) {
        self.0.update(json);
        self.0.update(b",");
    }

    /// The fingerprint of the events so far.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.0.digest128())
    }
}

impl Fingerprint {
    /// The stored form: 32 hex digits.
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Reads the stored form.
    pub fn from_hex(text: &str) -> Option<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

/// Fingerprints as text, because JSON numbers don't hold 128 bits.
mod hex {
    use super::Fingerprint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Fingerprint(*value).to_hex())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        Fingerprint::from_hex(&text)
            .map(|f| f.0)
            .ok_or_else(|| D::Error::custom("not 32 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_sort_like_their_numbers() {
        assert_eq!(fence(ROOT), "0000000000000000");
        assert_eq!(fence(MAX_SEQ_NUM), "9007199254740991");
        assert!(fence(9) < fence(10) && fence(99) < fence(100));
    }

    /// Every Sequencer stores this form: a change makes old rows unreadable.
    #[test]
    fn a_fingerprint_keeps_its_stored_form() {
        let mut f = Fingerprinter::default();
        f.event(br#"{"seqNum":1}"#);
        f.event(br#"{"seqNum":2}"#);
        let hex = f.fingerprint().to_hex();
        assert_eq!(hex, "b97959114c78bd25d643809123154b9d");
        assert_eq!(Fingerprint::from_hex(&hex), Some(f.fingerprint()));
        assert_eq!(Fingerprint::from_hex("12"), None);
    }
}
