//! Sealed history: runs of whole appends that never change, and how a read of the log is cut into them.

pub mod assemble;
pub mod pages;
pub mod plan;
