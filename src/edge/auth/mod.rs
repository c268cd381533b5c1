//! Authentication: turns a request's bearer token into a [`Grant`](headwater_core::auth::Grant).
//!
//! `admit` checks the token; `keys` remembers keys and fetches them; `crypto` is the runtime's Web Crypto.

mod admit;
mod crypto;
mod keys;

pub use admit::admit;
