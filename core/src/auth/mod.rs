//! Authentication: turns the claims of a bearer token (JWT, RFC 7519) into a [`Grant`], which says what stores the token
//! opens. The Worker checks the signature (`src/signature/`), because only its runtime has the cryptography.

pub mod claims;
pub mod token;

pub use claims::{Grant, Scope};
