//! What the Worker says to the Sequencer and hears back. Both are the same build, so plain JSON of
//! the core's own types will do; a batch's events travel beside it as the body, untouched.

use serde::{Deserialize, Serialize};

use super::core::Op;

/// The request header that carries a [`Call`].
pub const CALL_HEADER: &str = "headwater-call";

/// One call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// The store's encoded path ([`crate::names::StorePath`]), which a Durable Object does not know of itself.
    pub path: String,
    /// What is wanted.
    pub op: Op,
}
