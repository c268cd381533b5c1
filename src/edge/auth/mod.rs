//! Authentication: turns a request's bearer token into a [`Grant`](headwater_core::auth::Grant).
//!
//! `authenticate` checks the token, `keys` remembers and fetches keys, and `crypto` is the runtime's Web Crypto.

mod authenticate;
mod crypto;
mod keys;

pub(super) use authenticate::authenticate;
