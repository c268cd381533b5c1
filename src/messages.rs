//! Cuts the JSON array of a read (protocol §9.1.5) into its messages as the bytes arrive, so that a
//! history of any length passes through bounded memory.

use std::fmt;

/// Splits one JSON array, fed in chunks cut anywhere, into the exact bytes of its elements.
///
/// The array comes from a server that checked it; what is looked for here is damage on the way: a
/// body that ends early, or is something else altogether. At most one element is held at a time.
#[derive(Debug, Default)]
pub struct MessageSplitter {
    place: Place,
    /// How many brackets and braces are open inside the current element.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The part of the current element that earlier chunks brought.
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeArray,
    /// Right after `[`: an element or the end.
    AtFirst,
    InElement,
    /// After `,`: an element must follow.
    AfterComma,
    AfterArray,
}

/// The body is not the JSON array it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitError {
    /// A byte that can't stand there.
    Unexpected(u8),
    /// The body ended before the array did.
    Truncated,
    /// One message is larger than [`MAX_MESSAGE_BYTES`].
    TooLarge,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitError::Unexpected(byte) => write!(f, "unexpected {:?} in a JSON array", *byte as char),
            SplitError::Truncated => write!(f, "the JSON array ends early"),
            SplitError::TooLarge => write!(f, "a message is larger than {MAX_MESSAGE_BYTES} bytes"),
        }
    }
}

/// The largest message that is held: far above any event Headwater accepts, far below an isolate's
/// 128 MB.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

impl MessageSplitter {
    /// Takes the next chunk and hands each message that it completes to `sink`.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), SplitError> {
        // Where the current element begins in this chunk, if it does not begin in `held`.
        let mut start = 0;
        for (i, &byte) in chunk.iter().enumerate() {
            if self.place == Place::InElement {
                if self.inside(byte) {
                    continue;
                }
                self.complete(&chunk[start..i], &mut sink)?;
                self.place = if byte == b',' { Place::AfterComma } else { Place::AfterArray };
                continue;
            }
            match (self.place, byte) {
                (_, b' ' | b'\t' | b'\n' | b'\r') => {}
                (Place::BeforeArray, b'[') => self.place = Place::AtFirst,
                (Place::AtFirst, b']') => self.place = Place::AfterArray,
                (Place::AtFirst | Place::AfterComma, b) if !matches!(b, b',' | b']' | b'}' | b':') => {
                    start = i;
                    self.place = Place::InElement;
                    self.inside(byte);
                }
                (_, b) => return Err(SplitError::Unexpected(b)),
            }
        }
        if self.place == Place::InElement {
            self.hold(&chunk[start..])?;
        }
        Ok(())
    }

    /// The body has ended; was it whole?
    pub fn finish(self) -> Result<(), SplitError> {
        if self.place == Place::AfterArray { Ok(()) } else { Err(SplitError::Truncated) }
    }

    /// Steps over one byte of an element; false at the `,` or `]` behind it.
    fn inside(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return true;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return false,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        true
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

/// Without JSON's white space (RFC 8259 §2) at the end. ASCII's has one more, and that is damage.
fn trim_end(mut message: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = message {
        message = rest;
    }
    message
}
