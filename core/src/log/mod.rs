//! The log: its chain of events, and how it is read.

mod chain;
mod paging;
mod scan;

pub use chain::{Break, ChainValidator, header_message, header_of};
pub use paging::Paging;
pub use scan::{Known, LogRange, LogScanner, Probe};
