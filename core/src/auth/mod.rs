//! Authentication: turns the claims of a bearer token (JWT, RFC 7519) into a [`Grant`], which says what stores it opens.
//! Checking the signature is the Worker's part (`src/signature/`): only its runtime has the cryptography.

pub mod claims;
pub mod token;

pub use claims::{Grant, Scope};
