//! The way of a read from page to page. Pure: tested on any host.

use crate::event::Offset;

/// So many pages in a row without a message are no log.
const MAX_EMPTY_PAGES: u32 = 4;

/// The longest read, in pages. The pages of real servers are of kilobytes at least.
const MAX_PAGES: u32 = 10_000;

/// How far a read has come. It comes to an end whatever is answered: nobody counts the requests of one read.
#[derive(Debug, Default)]
pub struct Paging {
    pages: u32,
    /// Without a message, in a row.
    empty: u32,
}

impl Paging {
    /// Whether a page between these offsets, which does not reach the tail, leads on.
    pub fn leads_on(&mut self, at: &Offset, next: &Offset, is_empty: bool) -> bool {
        self.pages += 1;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let is_onward = next > at || (at.0 == Offset::START && next != at);
        is_onward && self.pages < MAX_PAGES && self.empty < MAX_EMPTY_PAGES
    }
}
