//! The upstream of the model: a log of tiny events, in place of the JSON of `support/upstream.rs`. The model keeps,
//! copies and hashes millions of states, therefore a state must be small. Both upstreams take appends by the same
//! [`Admission`](crate::support::admission::Admission).

use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Fingerprinter, Offset, ROOT, SeqNum};
use headwater_core::log::{Break, Known, LogRange, Probe};
use headwater_core::sequencer::{Request, Tail, UpstreamResult};

use super::world::{Mutation, State, Stranger, Stream, World};
use crate::support::admission::Verdict;

/// An append on its way, with its producer's epoch and sequence.
pub type ProducedEvent = (Event, (u64, u64));

/// The n-th event of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub usize, pub u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    pub id: Id,
    pub parent: SeqNum,
}

impl Event {
    pub fn seq(self) -> SeqNum {
        self.parent + 1
    }

    fn bytes(self) -> [u8; 3] {
        [self.id.0 as u8, self.id.1, self.parent as u8]
    }

    pub fn batch(self) -> Batch {
        let mut fingerprinter = Fingerprinter::default();
        fingerprinter.event(&self.bytes());
        let (first, last) = (self.seq(), self.seq());
        Batch {
            parent: self.parent,
            first,
            last,
            events: 1,
            bytes: 3,
            fingerprint: fingerprinter.fingerprint(),
        }
    }
}

/// The id of an incarnation. The first stream has no header.
pub fn backend_id(incarnation: u8) -> BackendId {
    BackendId(if incarnation == 0 { "b".into() } else { format!("b{incarnation}") })
}

impl State {
    fn tail(&self) -> Tail {
        Tail { offset: offset(&self.log), closed: self.stream == Stream::Closed }
    }

    /// The header as a read of the whole log finds it, and its bytes.
    fn header(&self) -> (Option<BackendId>, u64) {
        let has_header = self.incarnation > 0;
        (has_header.then(|| backend_id(self.incarnation)), has_header.into())
    }
}

fn offset(log: &[Event]) -> Offset {
    Offset(format!("{:03}", log.len()))
}

impl World {
    /// Performs a request. `append` is the event of an append, with its producer.
    pub(super) fn upstream(
        &self,
        state: &mut State,
        request: &Request,
        append: Option<ProducedEvent>,
    ) -> UpstreamResult {
        if state.stream == Stream::Lost {
            return match request {
                Request::Create => {
                    state.has_other_log = true;
                    UpstreamResult::Exists
                }
                _ => UpstreamResult::Missing,
            };
        }
        if state.stream == Stream::Deleted {
            return match request {
                Request::Create => {
                    (state.stream, state.incarnation) = (Stream::Open, state.incarnation + 1);
                    UpstreamResult::Created(backend_id(state.incarnation), offset(&state.log))
                }
                _ => UpstreamResult::Missing,
            };
        }
        match request {
            Request::Check => {
                UpstreamResult::Checked(Some(backend_id(state.incarnation)), state.tail())
            }
            Request::ReadAll { known, probe } => {
                let (header, bytes) = state.header();
                let range = range_of(&state.log, *known, *probe, ROOT);
                let range = LogRange { header, bytes: range.bytes + bytes, ..range };
                UpstreamResult::Read(range, state.tail())
            }
            Request::ReadOn { from, known, probe } => {
                let before: usize = from.0.parse().expect("an offset of ours");
                let rest = state.log.get(before..).unwrap_or_default();
                let (known_part, rest) =
                    rest.split_at(known.map_or(0, |known| known.events as usize).min(rest.len()));
                let parent = rest.first().map_or(ROOT, |event| event.parent);
                let is_known = known
                    .is_none_or(|known| range_of(known_part, Some(known), None, ROOT).known_found);
                let read =
                    LogRange { known_found: is_known, ..range_of(rest, None, *probe, parent) };
                let Tail { offset, closed } = state.tail();
                UpstreamResult::Read(read, Tail { offset: offset.max(from.clone()), closed })
            }
            Request::Append { .. } => self.append(state, append.expect("an append has an event")),
            Request::Create => UpstreamResult::Exists,
            Request::Close => {
                state.stream = Stream::Closed;
                UpstreamResult::Closed
            }
            Request::Delete => {
                state.stream = Stream::Deleted;
                state.log.clear();
                state.admission.forget();
                UpstreamResult::Deleted
            }
        }
    }

    /// A foreign answer; `None` if the driver would not take it for an answer to this request.
    pub(super) fn strange(
        request: &Request,
        stranger: Stranger,
        log: &[Event],
    ) -> Option<UpstreamResult> {
        let another = BackendId("another".into());
        Some(match (request, stranger) {
            (Request::Create, _) => return None,
            (_, Stranger::Missing) => UpstreamResult::Missing,
            (_, Stranger::Gone) => UpstreamResult::Gone,
            (Request::Check, Stranger::Another) => {
                UpstreamResult::Checked(Some(another), offset(log).into())
            }
            (Request::ReadAll { .. }, Stranger::Another) => UpstreamResult::Read(
                LogRange { header: Some(another), bytes: 3, ..range_of(&[], None, None, ROOT) },
                offset(&[]).into(),
            ),
            (Request::ReadAll { .. }, Stranger::Empty) => {
                UpstreamResult::Read(range_of(&[], None, None, ROOT), offset(&[]).into())
            }
            (Request::ReadOn { from, .. }, Stranger::Empty) => {
                UpstreamResult::Read(range_of(&[], None, None, ROOT), from.clone().into())
            }
            _ => return None,
        })
    }

    pub(super) fn append(
        &self,
        state: &mut State,
        (event, producer): ProducedEvent,
    ) -> UpstreamResult {
        if state.stream == Stream::Closed {
            return UpstreamResult::Conflict;
        }
        match (state.admission.judge(event.parent, producer), self.mutation) {
            (Verdict::Duplicate, Mutation::DuplicateIsLanded) => {
                return UpstreamResult::Appended(offset(&state.log));
            }
            (Verdict::Duplicate | Verdict::OutOfSequence, _) => return UpstreamResult::Failed,
            (Verdict::Fenced, Mutation::NoFence) | (Verdict::Append, _) => {}
            (Verdict::Fenced, _) => return UpstreamResult::Conflict,
        }
        state.admission.landed(event.parent, producer);
        state.log.push(event);
        UpstreamResult::Appended(offset(&state.log))
    }
}

fn range_of(
    events: &[Event],
    known: Option<Known>,
    probe: Option<Probe>,
    before: SeqNum,
) -> LogRange {
    let mut fingerprinter = Fingerprinter::default();
    let is_known = |known: Known| {
        let (from, to) = (known.skip as usize, (known.skip + known.events) as usize);
        let mut fingerprinter = Fingerprinter::default();
        events.get(from..to)?.iter().for_each(|event| fingerprinter.event(&event.bytes()));
        Some(fingerprinter.fingerprint() == known.fingerprint)
    };
    let mut broken = None;
    let mut head = before;
    let mut probe_found = false;
    for event in events {
        if event.parent != head {
            broken.get_or_insert(Break::Link {
                seq: event.seq(),
                parent: event.parent,
                before: head,
            });
        }
        head = event.seq();
        fingerprinter.event(&event.bytes());
        probe_found |= probe.is_some_and(|probe| probe.fingerprint == event.batch().fingerprint);
    }
    LogRange {
        header: None,
        events: events.len() as u64,
        bytes: 3 * events.len() as u64,
        link: events.first().map(|first| (first.parent, head)),
        broken,
        fingerprint: fingerprinter.fingerprint(),
        probe_found,
        known_found: known.and_then(is_known).unwrap_or(false),
    }
}

pub fn is_chain(log: &[Event]) -> bool {
    let parents = std::iter::once(ROOT).chain(log.iter().map(|event| event.seq()));
    log.iter().zip(parents).all(|(event, before)| event.parent == before)
}

pub fn times(log: &[Event], id: Id) -> usize {
    log.iter().filter(|event| event.id == id).count()
}
