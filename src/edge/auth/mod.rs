//! Who may come in: a bearer token (JWT, RFC 7519) becomes a [`Grant`], and a grant opens stores.
//!
//! [`token`], [`jwks`] and [`claims`] decide, without a runtime. `keys` remembers keys and fetches them,
//! `crypto` is the runtime's Web Crypto; `admit` puts them together.

pub mod claims;
pub mod jwks;
pub mod token;

#[cfg(target_arch = "wasm32")]
mod admit;
#[cfg(target_arch = "wasm32")]
mod crypto;
#[cfg(target_arch = "wasm32")]
mod keys;

#[cfg(target_arch = "wasm32")]
pub use admit::admit;
pub use claims::{Grant, Scope};
