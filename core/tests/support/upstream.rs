//! A fake upstream in memory, which keeps the protocol's promises as far as the core relies on them.
//!
//! The model has a log of its own (`model/upstream.rs`): it needs states that are small and quick to hash, and this log
//! holds JSON, which the core's real scanner reads. Both take appends by the same [`Admission`].

use headwater_core::event::{BackendId, Offset, SeqNum};
use headwater_core::log::{LogScanner, header_message, header_of};
use headwater_core::sequencer::{Request, Tail, UpstreamResult};

use super::admission::{Admission, Verdict};

/// One event as JSON. `id` makes it unique.
pub fn event(seq: SeqNum, parent: SeqNum, id: &str) -> String {
    format!(
        r#"{{"name":"e","args":{{"id":"{id}"}},"seqNum":{seq},"parentSeqNum":{parent},"clientId":"c","sessionId":"s"}}"#
    )
}

/// A server with at most one stream.
#[derive(Default)]
pub struct Upstream {
    pub log: Option<Vec<String>>,
    /// Whether the stream is closed.
    pub closed: bool,
    pub admission: Admission,
    /// The number of streams that were created.
    pub incarnations: u32,
    /// The requests so far, by their HTTP methods; `CHECK` reads the first message only.
    pub requests: Vec<&'static str>,
}

impl Upstream {
    /// Performs a request. `batch` and `epoch` belong to an append.
    pub fn perform(&mut self, request: &Request, batch: &[String], epoch: u64) -> UpstreamResult {
        self.requests.push(match request {
            Request::Check => "CHECK",
            Request::ReadAll { .. } | Request::ReadOn { .. } => "GET",
            Request::Create => "PUT",
            Request::Append { .. } => "POST",
            Request::Close => "CLOSE",
            Request::Delete => "DELETE",
        });
        match (request, &self.log) {
            (Request::Create, Some(_)) => UpstreamResult::Exists,
            (Request::Create, None) => {
                self.incarnations += 1;
                let id = BackendId(format!("life-{}", self.incarnations));
                let body = header_message(&id);
                self.log = Some(vec![body[1..body.len() - 1].to_string()]);
                self.admission.forget();
                self.closed = false;
                UpstreamResult::Created(id, self.offset())
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
                    // The Rust server answers an offset beyond the tail with nothing new, and repeats the offset.
                    return UpstreamResult::Read(
                        LogScanner::onward(*probe).expecting(*known).finish(),
                        Tail { offset: from.clone(), closed: self.closed },
                    );
                }
                self.read(&log[at..], LogScanner::onward(*probe).expecting(*known))
            }
            (Request::Close, Some(_)) => {
                self.closed = true;
                UpstreamResult::Closed
            }
            (Request::Append { parent, producer_seq, .. }, Some(_)) => {
                self.produce(*parent, (epoch, *producer_seq), batch)
            }
        }
    }

    /// The result of a request if the log held only its first messages.
    pub fn perform_at_length(&self, request: &Request, length: usize) -> UpstreamResult {
        let log = self.log.as_ref().map(|log| log[..length.min(log.len())].to_vec());
        Self { log, closed: self.closed, ..Self::default() }.perform(request, &[], 0)
    }

    /// Another party deletes the stream, and creates one that holds this batch.
    pub fn recreate(&mut self, batch: Vec<String>) {
        self.log = None;
        self.perform(&Request::Create, &[], 0);
        if !batch.is_empty() {
            self.append(0, &batch);
        }
        self.requests.clear();
    }

    /// An append of a producer. The Sequencer hears only that a refused sequence has failed.
    pub fn produce(
        &mut self,
        parent: SeqNum,
        producer: (u64, u64),
        batch: &[String],
    ) -> UpstreamResult {
        // A real server answers so before it looks at the producer.
        if self.log.is_some() && self.closed {
            return UpstreamResult::Conflict;
        }
        match self.admission.judge(parent, producer) {
            Verdict::Duplicate | Verdict::OutOfSequence => UpstreamResult::Failed,
            Verdict::Fenced => UpstreamResult::Conflict,
            Verdict::Append => {
                let result = self.append(parent, batch);
                if let UpstreamResult::Appended(_) = result {
                    self.admission.landed(parent, producer);
                }
                result
            }
        }
    }

    /// An append of a direct writer, which only the fence can refuse.
    pub fn append(&mut self, parent: SeqNum, batch: &[String]) -> UpstreamResult {
        if self.closed || self.admission.is_fenced(parent) {
            return UpstreamResult::Conflict;
        }
        let Some(log) = &mut self.log else { return UpstreamResult::Missing };
        log.extend_from_slice(batch);
        self.admission.fence = Some(parent);
        UpstreamResult::Appended(self.offset())
    }

    fn read(&self, messages: &[String], mut scanner: LogScanner) -> UpstreamResult {
        for message in messages {
            scanner.message(message.as_bytes());
        }
        UpstreamResult::Read(scanner.finish(), self.tail())
    }

    fn tail(&self) -> Tail {
        Tail { offset: self.offset(), closed: self.closed }
    }

    fn offset(&self) -> Offset {
        Offset(format!("{:08}", self.log.as_ref().map_or(0, Vec::len)))
    }
}
