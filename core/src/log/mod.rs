//! The log as data: its chain of events, and how a read goes through it.

mod chain;
mod moving;
mod paging;
mod scan;
mod upstream_url;

pub use chain::{Break, ChainValidator, header_message, header_of, link_of};
pub use moving::{LogAddress, LogPart, LogPlace};
pub use paging::Paging;
pub use scan::{Known, LogRange, LogScanner, Probe};
pub use upstream_url::{MAX_SHARDS, UpstreamUrl};
