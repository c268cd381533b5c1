//! The protocol's promises as far as the core relies on them, in memory.

use headwater::event::{BackendId, Offset, SeqNum, fence};
use headwater::sequencer::core::{Reply, Request};
use headwater::sequencer::scan::{Scan, header_message, header_of};

/// One event as JSON; `id` makes it unlike any other.
pub fn event(seq: SeqNum, parent: SeqNum, id: &str) -> String {
    format!(
        r#"{{"name":"e","args":{{"id":"{id}"}},"seqNum":{seq},"parentSeqNum":{parent},"clientId":"c","sessionId":"s"}}"#
    )
}

/// A server with at most one stream.
#[derive(Default)]
pub struct Upstream {
    pub log: Option<Vec<String>>,
    last_fence: Option<String>,
    /// How many streams were created.
    pub lives: u32,
    /// Everything that was asked, in words.
    pub requests: Vec<&'static str>,
}

impl Upstream {
    /// Does what is asked, completely. `batch` holds the events of an append.
    pub fn perform(&mut self, request: &Request, batch: &[String]) -> Reply {
        self.requests.push(match request {
            Request::Check => "CHECK",
            Request::ReadAll | Request::ReadOn { .. } => "GET",
            Request::Create => "PUT",
            Request::Append { .. } => "POST",
            Request::Delete => "DELETE",
        });
        match (request, &self.log) {
            (Request::Create, Some(_)) => Reply::Exists,
            (Request::Create, None) => {
                self.lives += 1;
                let id = BackendId(format!("life-{}", self.lives));
                let body = header_message(&id);
                self.log = Some(vec![body[1..body.len() - 1].to_string()]);
                self.last_fence = None;
                Reply::Created(id, self.tail())
            }
            (_, None) => Reply::Missing,
            (Request::Delete, Some(_)) => {
                self.log = None;
                Reply::Deleted
            }
            (Request::Check, Some(log)) => {
                Reply::Checked(log.first().and_then(|first| header_of(first.as_bytes())), self.tail())
            }
            (Request::ReadAll, Some(log)) => self.read(log, Scan::from_start()),
            (Request::ReadOn { from, probe }, Some(log)) => {
                let from: usize = from.0.parse().expect("an offset of ours");
                self.read(&log[from.min(log.len())..], Scan::onward(*probe))
            }
            (Request::Append { parent, .. }, Some(_)) => self.append(*parent, batch),
        }
    }

    /// Someone else deletes the stream and makes another one that holds this batch.
    pub fn recreate(&mut self, batch: Vec<String>) {
        self.log = None;
        self.perform(&Request::Create, &[]);
        if !batch.is_empty() {
            self.append(0, &batch);
        }
        self.requests.clear();
    }

    pub fn append(&mut self, parent: SeqNum, batch: &[String]) -> Reply {
        let fence = fence(parent);
        if self.last_fence.as_ref().is_some_and(|last| fence <= *last) {
            return Reply::Conflict;
        }
        let Some(log) = &mut self.log else { return Reply::Missing };
        log.extend_from_slice(batch);
        self.last_fence = Some(fence);
        Reply::Appended(self.tail())
    }

    fn read(&self, messages: &[String], mut scan: Scan) -> Reply {
        for message in messages {
            scan.message(message.as_bytes());
        }
        Reply::Read(scan.finish(), self.tail())
    }

    fn tail(&self) -> Offset {
        Offset(format!("{:08}", self.log.as_ref().map_or(0, Vec::len)))
    }
}
