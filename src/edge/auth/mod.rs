//! Authentication: turns a request's bearer token into a [`Grant`](headwater_core::auth::Grant).

mod admit;

pub use admit::admit;
