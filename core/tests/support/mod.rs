//! Parts that several tests share.

pub mod admission;
pub mod json;
pub mod messages;
pub mod upstream;
