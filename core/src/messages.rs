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
            SplitError::Unexpected(byte) => {
                write!(f, "unexpected {:?} in a JSON array", *byte as char)
            }
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

    /// The body has ended; was it whole?
    pub fn finish(self) -> Result<(), SplitError> {
        if self.place == Place::AfterArray { Ok(()) } else { Err(SplitError::Truncated) }
    }

    /// Steps through the current element up to the `,` or `]` behind it, and says where that is; `None` if
    /// it is not in these bytes. All history goes through here, so strings are crossed in a loop of their own.
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

/// Without JSON's white space (RFC 8259 §2) at the end. ASCII's has one more, and that is damage.
fn trim_end(mut message: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = message {
        message = rest;
    }
    message
}
