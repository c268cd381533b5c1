//! The end of a read that goes from page to page.

use crate::event::Offset;

/// The most pages in a row without a message. A log has fewer.
const MAX_EMPTY_PAGES: u32 = 4;

/// The most pages of one read. The pages of real servers hold kilobytes or more.
const MAX_PAGES: u32 = 10_000;

/// Counts the pages of one read. Without this bound, wrong answers could make a read endless: the Sequencer's budget
/// counts a read as one request.
#[derive(Debug, Default)]
pub struct Paging {
    pages: u32,
    /// The pages without a message, in a row.
    empty: u32,
}

impl Paging {
    /// Whether the read goes on after a page between these offsets that does not reach the tail.
    pub fn leads_on(&mut self, at: &Offset, next: &Offset, is_empty: bool) -> bool {
        self.pages += 1;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let is_onward = next > at || (at.0 == Offset::START && next != at);
        is_onward && self.pages < MAX_PAGES && self.empty < MAX_EMPTY_PAGES
    }
}
