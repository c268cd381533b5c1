//! The upstream of the model: a log of tiny events, in place of the JSON of `support/upstream.rs`. The model keeps, copies
//! and hashes millions of states, therefore a state must be small. Both upstreams take appends by the same [`Admission`](crate::support::admission::Admission).

use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Fingerprinter, Offset, ROOT, SeqNum};
use headwater_core::log::{Break, Known, LogRange, Probe};
use headwater_core::sequencer::{Request, UpstreamResult};

use super::world::{Mutation, State, Stranger, World};
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

pub fn backend_id() -> BackendId {
    BackendId("b".into())
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
        if state.lost {
            return match request {
                Request::Create => {
                    state.has_other_log = true;
                    UpstreamResult::Exists
                }
                _ => UpstreamResult::Missing,
            };
        }
        match request {
            Request::Check => UpstreamResult::Checked(Some(backend_id()), offset(&state.log)),
            Request::ReadAll { known, probe } => {
                UpstreamResult::Read(range_of(&state.log, *known, *probe, ROOT), offset(&state.log))
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
                UpstreamResult::Read(read, offset(&state.log).max(from.clone()))
            }
            Request::Append { .. } => self.append(state, append.expect("an append has an event")),
            Request::Create => UpstreamResult::Exists,
            Request::Delete => unreachable!("no client resets the store"),
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
                UpstreamResult::Checked(Some(another), offset(log))
            }
            (Request::ReadAll { .. }, Stranger::Another) => UpstreamResult::Read(
                LogRange { header: Some(another), bytes: 3, ..range_of(&[], None, None, ROOT) },
                offset(&[]),
            ),
            (Request::ReadAll { .. }, Stranger::Empty) => {
                UpstreamResult::Read(range_of(&[], None, None, ROOT), offset(&[]))
            }
            (Request::ReadOn { from, .. }, Stranger::Empty) => {
                UpstreamResult::Read(range_of(&[], None, None, ROOT), from.clone())
            }
            _ => return None,
        })
    }

    pub(super) fn append(
        &self,
        state: &mut State,
        (event, producer): ProducedEvent,
    ) -> UpstreamResult {
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
        header: None, // the implicit id is `backend_id()`
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
