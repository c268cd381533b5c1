//! Cuts the JSON array of a read (protocol §9.1.5) into its messages while the bytes arrive. A history of any length
//! therefore passes through bounded memory.

use std::fmt;

/// Splits one JSON array into the exact bytes of its elements. The chunks may be cut anywhere.
///
/// The array comes from a server that checked it. The splitter finds damage on the way: a body that ends early, or is
/// something else. It holds at most one element at a time.
#[derive(Debug, Default)]
pub struct MessageSplitter {
    place: Place,
    /// The open brackets and braces inside the current element.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The part of the current element that earlier chunks held.
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeArray,
    /// Right after `[`: an element or the end must follow.
    AtFirst,
    InElement,
    /// After `,`: an element must follow.
    AfterComma,
    AfterArray,
}

/// The damage that the splitter found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitError {
    /// A byte that JSON does not allow at its place.
    Unexpected(u8),
    /// The body ended before the array did.
    Truncated,
    /// One message is larger than [`MAX_MESSAGE_BYTES`].
    TooLarge,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitError::Unexpected(byte) => {
                write!(f, "unexpected {:?} in a JSON array", *byte as char)
            }
            SplitError::Truncated => write!(f, "the JSON array ends early"),
            SplitError::TooLarge => write!(f, "a message is larger than {MAX_MESSAGE_BYTES} bytes"),
        }
    }
}

/// The largest message: far above any event that Headwater accepts, and far below an isolate's 128 MB.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

impl MessageSplitter {
    /// Takes the next chunk and hands each message that it completes to `sink`.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), SplitError> {
        self.feed_to(chunk, &mut sink)
    }

    /// Not part of the generic [`Self::feed`], so that the module has this code only once.
    fn feed_to(&mut self, chunk: &[u8], mut sink: &mut dyn FnMut(&[u8])) -> Result<(), SplitError> {
        // Where the current element begins in this chunk, if it does not begin in `held`.
        let mut start = 0;
        let mut at = 0;
        while at < chunk.len() {
            if self.place == Place::InElement {
                let Some(inside) = self.skip(&chunk[at..]) else { break };
                at += inside;
                self.complete(&chunk[start..at], &mut sink)?;
                self.place = if chunk[at] == b',' { Place::AfterComma } else { Place::AfterArray };
                at += 1;
                continue;
            }
            match (self.place, chunk[at]) {
                (_, b' ' | b'\t' | b'\n' | b'\r') => at += 1,
                (Place::BeforeArray, b'[') => {
                    self.place = Place::AtFirst;
                    at += 1;
                }
                (Place::AtFirst, b']') => {
                    self.place = Place::AfterArray;
                    at += 1;
                }
                (Place::AtFirst | Place::AfterComma, byte)
                    if !matches!(byte, b',' | b']' | b'}' | b':') =>
                {
                    start = at;
                    self.place = Place::InElement;
                }
                (_, byte) => return Err(SplitError::Unexpected(byte)),
            }
        }
        if self.place == Place::InElement {
            self.hold(&chunk[start..])?;
        }
        Ok(())
    }

    /// Checks that the body ended with the array.
    pub fn finish(self) -> Result<(), SplitError> {
        if self.place == Place::AfterArray { Ok(()) } else { Err(SplitError::Truncated) }
    }

    /// Steps through the current element to the `,` or `]` behind it, and returns the index of that byte; `None` if the
    /// byte is not here yet. All history passes through this function, therefore strings have a fast loop of their own.
    fn skip(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.escaped {
                bytes.get(at)?;
                self.escaped = false;
                at += 1;
            }
            if self.in_string {
                at += bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
                self.escaped = bytes[at] == b'\\';
                self.in_string = self.escaped;
            } else {
                match *bytes.get(at)? {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b',' | b']' if self.depth == 0 => return Some(at),
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
            at += 1;
        }
    }

    fn complete(&mut self, rest: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<(), SplitError> {
        if self.held.is_empty() {
            sink(trim_end(rest));
        } else {
            self.hold(rest)?;
            sink(trim_end(&self.held));
            self.held.clear();
        }
        Ok(())
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), SplitError> {
        if self.held.len() + part.len() > MAX_MESSAGE_BYTES {
            return Err(SplitError::TooLarge);
        }
        self.held.extend_from_slice(part);
        Ok(())
    }
}

/// Cuts JSON's white space (RFC 8259 §2) off the end. ASCII has one more white space, which is damage here.
fn trim_end(mut message: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = message {
        message = rest;
    }
    message
}
