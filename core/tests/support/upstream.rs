//! The protocol's promises as far as the core relies on them, in memory.

use headwater_core::event::{BackendId, Offset, SeqNum, fence};
use headwater_core::log::{LogScanner, header_message, header_of};
use headwater_core::sequencer::{Request, UpstreamResult};

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
    /// The Sequencer's epoch and last sequence as a producer (protocol §5.2.1).
    pub producer: Option<(u64, u64)>,
    /// How many streams were created.
    pub lives: u32,
    /// Everything that was asked, in words.
    pub requests: Vec<&'static str>,
}

impl Upstream {
    /// Does what is asked, completely. `batch` holds the events of an append, which is of that epoch.
    pub fn perform(&mut self, request: &Request, batch: &[String], epoch: u64) -> UpstreamResult {
        self.requests.push(match request {
            Request::Check => "CHECK",
            Request::ReadAll { .. } | Request::ReadOn { .. } => "GET",
            Request::Create => "PUT",
            Request::Append { .. } => "POST",
            Request::Delete => "DELETE",
        });
        match (request, &self.log) {
            (Request::Create, Some(_)) => UpstreamResult::Exists,
            (Request::Create, None) => {
                self.lives += 1;
                let id = BackendId(format!("life-{}", self.lives));
                let body = header_message(&id);
                self.log = Some(vec![body[1..body.len() - 1].to_string()]);
                (self.last_fence, self.producer) = (None, None);
                UpstreamResult::Created(id, self.tail())
            }
            (_, None) => UpstreamResult::Missing,
            (Request::Delete, Some(_)) => {
                self.log = None;
                UpstreamResult::Deleted
            }
            (Request::Check, Some(log)) => UpstreamResult::Checked(
                log.first().and_then(|first| header_of(first.as_bytes())),
                self.tail(),
            ),
            (Request::ReadAll { known, probe }, Some(log)) => {
                self.read(log, LogScanner::from_start().expecting(*known).probing(*probe))
            }
            (Request::ReadOn { from, known, probe }, Some(log)) => {
                let at: usize = from.0.parse().expect("an offset of ours");
                if at > log.len() {
                    // As the Rust server does: what lies beyond the tail is answered with what was asked.
                    return UpstreamResult::Read(
                        LogScanner::onward(*probe).expecting(*known).finish(),
                        from.clone(),
                    );
                }
                self.read(&log[at..], LogScanner::onward(*probe).expecting(*known))
            }
            (Request::Append { parent, producer_seq, .. }, Some(_)) => {
                self.produce(*parent, (epoch, *producer_seq), batch)
            }
        }
    }

    /// What it would answer to a read if only the first messages of the log were there.
    pub fn perform_at_length(&self, request: &Request, length: usize) -> UpstreamResult {
        let log = self.log.as_ref().map(|log| log[..length.min(log.len())].to_vec());
        Self { log, ..Self::default() }.perform(request, &[], 0)
    }

    /// Someone else deletes the stream and makes another one that holds this batch.
    pub fn recreate(&mut self, batch: Vec<String>) {
        self.log = None;
        self.perform(&Request::Create, &[], 0);
        if !batch.is_empty() {
            self.append(0, &batch);
        }
        self.requests.clear();
    }

    /// An append of a producer: of a sequence that was seen already, or does not follow the last one, or of an old
    /// epoch, nothing is appended, and the Sequencer hears no more than that.
    pub fn produce(
        &mut self,
        parent: SeqNum,
        (epoch, producer_seq): (u64, u64),
        batch: &[String],
    ) -> UpstreamResult {
        let follows = match self.producer {
            None => producer_seq == 0,
            Some((known, _)) if epoch > known => producer_seq == 0,
            Some((known, last)) => epoch == known && producer_seq == last + 1,
        };
        if !follows {
            return UpstreamResult::Failed;
        }
        let reply = self.append(parent, batch);
        if let UpstreamResult::Appended(_) = reply {
            self.producer = Some((epoch, producer_seq));
        }
        reply
    }

    pub fn append(&mut self, parent: SeqNum, batch: &[String]) -> UpstreamResult {
        let fence = fence(parent);
        if self.last_fence.as_ref().is_some_and(|last| fence <= *last) {
            return UpstreamResult::Conflict;
        }
        let Some(log) = &mut self.log else { return UpstreamResult::Missing };
        log.extend_from_slice(batch);
        self.last_fence = Some(fence);
        UpstreamResult::Appended(self.tail())
    }

    fn read(&self, messages: &[String], mut scan: LogScanner) -> UpstreamResult {
        for message in messages {
            scan.message(message.as_bytes());
        }
        UpstreamResult::Read(scan.finish(), self.tail())
    }

    fn tail(&self) -> Offset {
        Offset(format!("{:08}", self.log.as_ref().map_or(0, Vec::len)))
    }
}
