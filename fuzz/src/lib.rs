//! What several targets need.

use headwater_core::messages::{MessageSplitter, SplitError};
use serde_json::value::RawValue;

/// The messages that the splitter cut, and how the body ended.
pub type Split = (Vec<Vec<u8>>, Result<(), SplitError>);

/// Feeds chunks to a splitter, until it refuses one.
pub fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Split {
    let mut splitter = MessageSplitter::default();
    let mut messages = Vec::new();
    for chunk in chunks {
        if let Err(error) = splitter.feed(chunk, |message| messages.push(message.to_vec())) {
            return (messages, Err(error));
        }
    }
    (messages, splitter.finish())
}

/// The elements of a JSON array byte for byte, as serde_json sees them.
pub fn elements(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    Some(elements.iter().map(|element| element.get().as_bytes().to_vec()).collect())
}
