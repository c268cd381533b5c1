//! Sealed history: runs of whole appends that never change. The modules plan a read, and cut it into segments or pages.

pub mod assemble;
pub mod pages;
pub mod plan;
