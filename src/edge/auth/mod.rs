//! Authentication: turns a request's bearer token into a [`Grant`](headwater_core::auth::Grant).
//!
//! The crate's `signature` module checks the token's signature.

mod authenticate;

pub(super) use authenticate::authenticate;
