//! What several tests share.

pub mod json;
pub mod upstream;
