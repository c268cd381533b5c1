//! The names of a store, and the one place that makes the upstream path of them.
//!
//! Two free-form names address a store: `tenant` and `store`. Upstream, each name is one path segment of unreserved
//! characters (RFC 3986 §2.3). The encoding is injective: two different names never meet in one stream.

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

/// The longest name in bytes of UTF-8. The setting `MAX_NAME_BYTES` may be lower.
pub const MAX_NAME_BYTES: usize = 4096;

/// The longest encoded name in characters; a longer one is hashed. Upstream servers keep paths as keys and file names, and
/// some take only a few hundred bytes.
const MAX_ENCODED: usize = 200;

/// Why a name can't address a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The name has no characters.
    Empty,
    /// The name is too long.
    TooLong {
        /// The name's length in bytes.
        bytes: usize,
        /// The allowed length in bytes.
        max: usize,
    },
    /// The percent-encoding is broken, or does not decode to UTF-8.
    Encoding,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "is empty"),
            NameError::TooLong { bytes, max } => {
                write!(f, "is {bytes} bytes long; at most {max} are allowed")
            }
            NameError::Encoding => write!(f, "is not valid percent-encoded UTF-8"),
        }
    }
}

/// The path of a store's stream below the upstream's URL: `{tenant}/{store}`, both encoded.
///
/// The path identifies the store everywhere in Headwater: as the Durable Object's name, as a key in memory, and in the
/// implicit backend id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorePath(String);

impl StorePath {
    /// The path of a store with these names, which are not encoded.
    pub fn new(tenant: &str, store: &str) -> Result<Self, (&'static str, NameError)> {
        Self::within(tenant, store, MAX_NAME_BYTES)
    }

    /// The path of the two percent-encoded segments of a request's URL. Each name has at most `max` bytes.
    pub fn from_url(
        tenant: &str,
        store: &str,
        max: usize,
    ) -> Result<Self, (&'static str, NameError)> {
        let tenant = percent_decode(tenant).ok_or(("tenant", NameError::Encoding))?;
        let store = percent_decode(store).ok_or(("store", NameError::Encoding))?;
        Self::within(&tenant, &store, max)
    }

    /// The store of an encoded path; `None` if the text is none.
    pub fn from_encoded(path: &str) -> Option<Self> {
        let is_name = |name: &str| {
            let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            !name.is_empty() && !name.starts_with(['_', '.']) && name.bytes().all(rest)
        };
        let (tenant, store) = path.split_once('/')?;
        (is_name(tenant) && is_name(store)).then(|| Self(path.into()))
    }

    fn within(tenant: &str, store: &str, max: usize) -> Result<Self, (&'static str, NameError)> {
        let tenant = check(tenant, max).map_err(|e| ("tenant", e))?;
        let store = check(store, max).map_err(|e| ("store", e))?;
        Ok(Self(format!("{}/{}", encode(tenant), encode(store))))
    }

    /// Whether the store belongs to this tenant.
    pub fn belongs_to(&self, tenant: &str) -> bool {
        self.tenant() == encode(tenant)
    }

    /// The encoded name of the tenant.
    pub fn tenant(&self) -> &str {
        self.0.split_once('/').map_or("", |(tenant, _)| tenant)
    }

    /// A stand-in for the store's name in logs: the first 12 hex digits of the path's SHA-256.
    pub fn digest(&self) -> String {
        let mut hex = format!("{:x}", Sha256::digest(&self.0));
        hex.truncate(12);
        hex
    }

    /// The path, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str, max: usize) -> Result<&str, NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        bytes if bytes > max => Err(NameError::TooLong { bytes, max }),
        _ => Ok(name),
    }
}

/// Encodes a name into `[A-Za-z0-9._~-]`.
///
/// Letters, digits and `-` stay. `_` and `.` stay except at the start: no name becomes `.`, `..` or the protocol's
/// reserved `__ds` (§6). Every other byte of the UTF-8 becomes `~` and two upper-case hex digits. A name that would
/// take more than 200 characters becomes `~h` and its SHA-256, and no other name is encoded like that. Therefore the
/// encoding is injective.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => out.push(byte as char),
            b'_' | b'.' if i > 0 => out.push(byte as char),
            _ => write!(out, "~{byte:02X}").expect("a String takes any text"),
        }
    }
    if out.len() > MAX_ENCODED { format!("~h{:x}", Sha256::digest(name)) } else { out }
}

/// Encodes one segment of a URL: everything but unreserved characters (RFC 3986 §2.3) becomes `%` and two hex digits.
pub(crate) fn percent_encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            write!(out, "%{byte:02X}").expect("a String takes any text");
        }
    }
    out
}

/// Decodes one segment of a URL (RFC 3986 §2.1).
pub(crate) fn percent_decode(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut out = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = (bytes.next()? as char).to_digit(16)?;
            let low = (bytes.next()? as char).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
