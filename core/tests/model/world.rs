//! The world as a [`Model`]: clients that push and push again, Sequencers that act on one stream (one
//! may be a zombie that does not know of its successor), and an upstream behind a lossy network, on which strangers answer
//! in its place, and which may lose its disk for a while. It tells appends apart by their producer, as a real one does. How
//! many faults of each kind may happen is part of the state, so that every path ends.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use headwater_core::batch::Batch;
use headwater_core::event::{BackendId, Fingerprinter, Offset, ROOT, SeqNum};
use headwater_core::log::{Break, Known, LogRange, Probe};
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::{
    Answer, Core, Effect, Input, Op, Recorded, Request, SequencerLimits, Ticket, UpstreamResult,
};
use stateright::{Model, Property};

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub struct World {
    pub sequencers: usize,
    /// Events that each client wants to get in, one push each.
    pub clients: Vec<u8>,
    pub faults: Faults,
    pub mutation: Mutation,
    /// Whether all Sequencers' clocks agree and stand still, so that two may be the same epoch of the producer.
    pub clock_stands: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Requests and responses that get lost between a Sequencer and the upstream.
    pub losses: u8,
    /// Appends that the sender gives up on and that land later, or never.
    pub delays: u8,
    /// Sequencers that crash and start again from what they stored.
    pub crashes: u8,
    /// Clients that stop waiting for an answer.
    pub leaves: u8,
    /// Upstreams that crash and forget their last `Stream-Seq` and their producers.
    pub amnesias: u8,
    /// Answers of somebody else.
    pub strangers: u8,
    /// Upstreams that come back without the log, until it is put back.
    pub wipes: u8,
}

/// Ways to break the protocol, to show that the checker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// The upstream does not compare `Stream-Seq`.
    NoFence,
    /// An append without an answer is sent again, and the log not read first.
    BlindRetry,
    /// A push is acknowledged, and the head recorded, before it is appended.
    HeadBeforeAppend,
    /// "Duplicate" (204) is taken for landed.
    DuplicateIsLanded,
    /// A missing stream is taken for one that was deleted here.
    MissingIsReset,
}

/// What somebody else answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stranger {
    /// 404
    Missing,
    /// 410
    Gone,
    /// A log of another incarnation.
    Another,
    /// A log without events.
    Empty,
}

/// An append on its way: its producer's epoch and sequence are with it.
type Sent = (Event, (u64, u64));

/// One client's n-th event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(usize, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    id: Id,
    parent: SeqNum,
}

impl Event {
    fn seq(self) -> SeqNum {
        self.parent + 1
    }

    fn bytes(self) -> [u8; 3] {
        [self.id.0 as u8, self.id.1, self.parent as u8]
    }

    fn batch(self) -> Batch {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub log: Vec<Event>,
    fence: Option<SeqNum>,
    /// The Sequencers' epoch and last sequence as a producer (protocol §5.2.1).
    producer: Option<(u64, u64)>,
    /// Whether the upstream has lost the log for now.
    lost: bool,
    /// Another log was begun while it had.
    pub begun_anew: bool,
    sequencers: Vec<Sequencer>,
    pub clients: Vec<Client>,
    /// Appends on their way that nobody waits for any more, in order, so that equal worlds are equal.
    late: Vec<Sent>,
    faults: Faults,
    /// Someone was refused although it had pulled everything there is.
    pub refused_without_news: bool,
}

impl State {
    fn epochs(&mut self) -> impl Iterator<Item = &mut u64> {
        let late = self.late.iter_mut().map(|(_, (epoch, _))| epoch);
        let producer = self.producer.iter_mut().map(|(epoch, _)| epoch);
        self.sequencers.iter_mut().map(|s| &mut s.epoch).chain(late).chain(producer)
    }

    /// Which Sequencer is which makes no difference, nor how far epochs lie apart: worlds that differ in that alone become
    /// equal.
    fn in_order(&mut self) {
        let mut used: Vec<u64> =
            self.epochs().map(|epoch| *epoch).filter(|epoch| *epoch > 0).collect();
        used.sort();
        used.dedup();
        for epoch in self.epochs().filter(|epoch| **epoch > 0) {
            *epoch = 1 + used.binary_search(epoch).expect("one of them") as u64;
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        self.sequencers.sort_by_cached_key(|sequencer| hasher.hash_one(sequencer));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sequencer {
    core: Core,
    stored: Option<Recorded>,
    /// As a producer; 0 where the next append begins a new one.
    epoch: u64,
    open: Option<Request>,
    calls: Vec<(Ticket, Call)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    event: Event,
    /// Whether its client still waits.
    heard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    head: SeqNum,
    pulled: usize,
    /// The next event to get in; all are in when it equals `World::clients`.
    pub next: u8,
    waiting: bool,
    pub acknowledged: Vec<Id>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Push {
        client: usize,
        sequencer: usize,
    },
    Pull(usize),
    Leave(usize),
    Deliver(usize),
    LoseRequest(usize),
    LoseResponse(usize),
    Delay(usize),
    Land(usize),
    /// Before the request is sent, with it on its way, or after so many of the things done on the reply.
    CrashUnsent(usize),
    CrashInFlight(usize),
    CrashAfter(usize, usize),
    Amnesia,
    Strange(usize, Stranger),
    Wipe,
    PutBack,
}

fn new_core(stored: Option<Recorded>) -> Core {
    let segment = SegmentSize { events: 100, bytes: 1_000 };
    let limits = SequencerLimits {
        queue: 8,
        looks: 8,
        queue_bytes: 1_000,
        attempts: 2,
        empty_looks: 2,
        requests: 24,
        segment,
    };
    Core::new(stored, backend_id(), limits)
}

fn backend_id() -> BackendId {
    BackendId("b".into())
}

fn offset(log: &[Event]) -> Offset {
    Offset(format!("{:03}", log.len()))
}

impl World {
    fn upstream(
        &self,
        state: &mut State,
        request: &Request,
        append: Option<Sent>,
    ) -> UpstreamResult {
        if state.lost {
            return match request {
                Request::Create => {
                    state.begun_anew = true;
                    UpstreamResult::Exists
                }
                _ => UpstreamResult::Missing,
            };
        }
        match request {
            Request::Check => UpstreamResult::Checked(Some(backend_id()), offset(&state.log)),
            Request::ReadAll { known, probe } => {
                UpstreamResult::Read(stretch(&state.log, *known, *probe, ROOT), offset(&state.log))
            }
            Request::ReadOn { from, known, probe } => {
                let before: usize = from.0.parse().expect("an offset of ours");
                let rest = state.log.get(before..).unwrap_or_default();
                let (known_part, rest) =
                    rest.split_at(known.map_or(0, |known| known.events as usize).min(rest.len()));
                let parent = rest.first().map_or(ROOT, |event| event.parent);
                let is_known = known
                    .is_none_or(|known| stretch(known_part, Some(known), None, ROOT).known_found);
                let read =
                    LogRange { known_found: is_known, ..stretch(rest, None, *probe, parent) };
                UpstreamResult::Read(read, offset(&state.log).max(from.clone()))
            }
            Request::Append { .. } => self.append(state, append.expect("an append has an event")),
            Request::Create => UpstreamResult::Exists,
            Request::Delete => unreachable!("nobody asks for that"),
        }
    }

    /// What somebody else says; `None` if it could not be taken for an answer.
    fn strange(request: &Request, stranger: Stranger, log: &[Event]) -> Option<UpstreamResult> {
        let another = BackendId("another".into());
        Some(match (request, stranger) {
            (Request::Create, _) => return None,
            (_, Stranger::Missing) => UpstreamResult::Missing,
            (_, Stranger::Gone) => UpstreamResult::Gone,
            (Request::Check, Stranger::Another) => {
                UpstreamResult::Checked(Some(another), offset(log))
            }
            (Request::ReadAll { .. }, Stranger::Another) => UpstreamResult::Read(
                LogRange { header: Some(another), bytes: 3, ..stretch(&[], None, None, ROOT) },
                offset(&[]),
            ),
            (Request::ReadAll { .. }, Stranger::Empty) => {
                UpstreamResult::Read(stretch(&[], None, None, ROOT), offset(&[]))
            }
            (Request::ReadOn { from, .. }, Stranger::Empty) => {
                UpstreamResult::Read(stretch(&[], None, None, ROOT), from.clone())
            }
            _ => return None,
        })
    }

    fn append(&self, state: &mut State, (event, (epoch, producer_seq)): Sent) -> UpstreamResult {
        let follows = match state.producer {
            None => producer_seq == 0,
            Some((known, _)) if epoch > known => producer_seq == 0,
            Some((known, last)) if epoch == known && producer_seq <= last => {
                return match self.mutation {
                    Mutation::DuplicateIsLanded => UpstreamResult::Appended(offset(&state.log)),
                    _ => UpstreamResult::Failed,
                };
            }
            Some((known, last)) => epoch == known && producer_seq == last + 1,
        };
        if !follows {
            return UpstreamResult::Failed;
        }
        let refused = state.fence.is_some_and(|last| event.parent <= last);
        if refused && self.mutation != Mutation::NoFence {
            return UpstreamResult::Conflict;
        }
        state.fence = Some(event.parent);
        state.producer = Some((epoch, producer_seq));
        state.log.push(event);
        UpstreamResult::Appended(offset(&state.log))
    }

    /// Hands a reply (or a call) to a core and carries out the first `survive` of what it says.
    fn handle(&self, state: &mut State, sequencer: usize, input: Input, survive: usize) -> usize {
        let outputs = state.sequencers[sequencer].core.handle(input);
        let all = outputs.len();
        for output in outputs.into_iter().take(survive) {
            let s = &mut state.sequencers[sequencer];
            match output {
                Effect::Record(tip) => {
                    s.stored =
                        Some(Recorded { tip, deleting: self.mutation == Mutation::MissingIsReset });
                }
                Effect::Forget => s.stored = None,
                Effect::Deleting => unreachable!("nobody asks for that"),
                Effect::Request(request, _) => {
                    if let (Mutation::HeadBeforeAppend, Request::Append { ticket, .. }) =
                        (self.mutation, &request)
                    {
                        self.acknowledge_early(state, sequencer, *ticket);
                    }
                    let s = &mut state.sequencers[sequencer];
                    if !self.clock_stands
                        && !matches!(request, Request::Append { producer_seq: 1.., .. })
                    {
                        s.epoch = 0;
                    }
                    s.open = Some(request);
                }
                Effect::Answer(ticket, answer) => {
                    let at = s.calls.iter().position(|(t, _)| *t == ticket).expect("answered once");
                    let (_, call) = s.calls.remove(at);
                    self.answered(state, call, Some(answer));
                }
            }
        }
        all
    }

    fn acknowledge_early(&self, state: &mut State, sequencer: usize, ticket: Ticket) {
        let s = &mut state.sequencers[sequencer];
        let (_, call) = s.calls.iter_mut().find(|(t, _)| *t == ticket).expect("a call");
        let told = *call;
        call.heard = false;
        let tip = s.core.tip().expect("a tip").clone();
        self.answered(state, told, Some(Answer::Accepted(tip)));
    }

    fn answered(&self, state: &mut State, call: Call, answer: Option<Answer>) {
        if !call.heard {
            return;
        }
        let client = call.event.id.0;
        let c = &mut state.clients[client];
        c.waiting = false;
        match answer {
            Some(Answer::Accepted(_) | Answer::AcceptedAgain(_)) => {
                c.acknowledged.push(call.event.id);
                if call.event.id.1 == c.next {
                    c.next += 1;
                    c.head = c.head.max(call.event.seq());
                }
            }
            Some(Answer::ServerAhead { .. } | Answer::Gap { .. }) => {
                state.refused_without_news |= c.pulled == state.log.len();
                pull(state, client);
            }
            Some(Answer::Unavailable | Answer::Overloaded | Answer::Halted(..)) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    fn take_open(&self, state: &mut State, sequencer: usize) -> (Request, Option<Sent>) {
        let next = 1 + state.epochs().map(|epoch| *epoch).max().unwrap_or(0);
        let s = &mut state.sequencers[sequencer];
        let request = s.open.take().expect("an open request");
        let event = match &request {
            Request::Append { ticket, producer_seq, .. } => {
                if *producer_seq == 0 {
                    // Each is later than all before, or two may choose the same.
                    s.epoch = if self.clock_stands { s.epoch + 1 } else { next };
                }
                s.calls
                    .iter()
                    .find(|(t, _)| t == ticket)
                    .map(|(_, call)| (call.event, (s.epoch, *producer_seq)))
            }
            _ => None,
        };
        (request, event)
    }

    fn fail(&self, state: &mut State, sequencer: usize, request: &Request, event: Option<Sent>) {
        let reply = match (self.mutation, request) {
            (Mutation::BlindRetry, Request::Append { .. }) => self.upstream(state, request, event),
            _ => UpstreamResult::Failed,
        };
        self.handle(state, sequencer, Input::Upstream(reply), usize::MAX);
    }

    fn restart(&self, state: &mut State, sequencer: usize) {
        let s = &mut state.sequencers[sequencer];
        s.core = new_core(s.stored.clone());
        (s.open, s.epoch) = (None, 0);
        for (_, call) in std::mem::take(&mut s.calls) {
            self.answered(state, call, None);
        }
    }

    fn push(&self, state: &mut State, client: usize, sequencer: usize) {
        let c = &mut state.clients[client];
        c.waiting = true;
        let event = Event { id: Id(client, c.next), parent: c.head };
        let s = &mut state.sequencers[sequencer];
        let ticket = (0..)
            .map(Ticket)
            .find(|t| s.calls.iter().all(|(used, _)| used != t))
            .expect("a free ticket");
        s.calls.push((ticket, Call { event, heard: true }));
        let op = Op::Push { batch: event.batch(), backend_id: None };
        self.handle(state, sequencer, Input::Call(ticket, op), usize::MAX);
    }
}

/// LiveStore's rule: what is in the log is no longer pending, and the rest follows the head.
fn pull(state: &mut State, client: usize) {
    let c = &mut state.clients[client];
    for event in &state.log[c.pulled..] {
        c.head = event.seq();
        if event.id == Id(client, c.next) {
            c.next += 1;
        }
    }
    c.pulled = state.log.len();
}

fn stretch(
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
        header: None, // that of a whole log is `backend_id()`, the implicit one
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

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let sequencer = Sequencer {
            core: new_core(None),
            stored: None,
            epoch: 0,
            open: None,
            calls: Vec::new(),
        };
        let client =
            Client { head: ROOT, pulled: 0, next: 0, waiting: false, acknowledged: Vec::new() };
        vec![State {
            log: Vec::new(),
            fence: None,
            producer: None,
            lost: false,
            begun_anew: false,
            sequencers: vec![sequencer; self.sequencers],
            clients: vec![client; self.clients.len()],
            late: Vec::new(),
            faults: self.faults,
            refused_without_news: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Faults { losses, delays, crashes, leaves, amnesias, strangers, wipes } = state.faults;
        for (client, c) in state.clients.iter().enumerate() {
            if c.waiting {
                if leaves > 0 {
                    actions.push(Action::Leave(client));
                }
            } else if c.next < self.clients[client] {
                actions.extend(
                    (0..self.sequencers).map(|sequencer| Action::Push { client, sequencer }),
                );
                if c.pulled < state.log.len() {
                    actions.push(Action::Pull(client));
                }
            }
        }
        for (sequencer, s) in state.sequencers.iter().enumerate() {
            let Some(request) = &s.open else { continue };
            let appends = matches!(request, Request::Append { .. });
            actions.push(Action::Deliver(sequencer));
            if strangers > 0 {
                // Who knows nothing yet has nothing to doubt another log by.
                let knows = s.stored.is_some();
                let all = [Stranger::Missing, Stranger::Gone, Stranger::Another, Stranger::Empty];
                let said = all
                    .into_iter()
                    .filter(|one| knows || matches!(one, Stranger::Missing | Stranger::Gone));
                let said = said.filter(|one| Self::strange(request, *one, &state.log).is_some());
                actions.extend(said.map(|one| Action::Strange(sequencer, one)));
            }
            if losses > 0 {
                actions.push(Action::LoseRequest(sequencer));
                if appends {
                    actions.push(Action::LoseResponse(sequencer));
                }
            }
            if delays > 0 && appends {
                actions.push(Action::Delay(sequencer));
            }
            if crashes > 0 {
                actions.push(Action::CrashUnsent(sequencer));
                if appends && delays > 0 {
                    actions.push(Action::CrashInFlight(sequencer));
                }
                actions.extend((0..4).map(|survive| Action::CrashAfter(sequencer, survive)));
            }
        }
        actions.extend((0..state.late.len()).map(Action::Land));
        if amnesias > 0 && state.fence.is_some() {
            actions.push(Action::Amnesia);
        }
        // Who knows of no log yet may begin one.
        if wipes > 0 && !state.lost && state.sequencers.iter().all(|s| s.stored.is_some()) {
            actions.push(Action::Wipe);
        }
        if state.lost {
            actions.push(Action::PutBack);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Push { client, sequencer } => self.push(&mut state, client, sequencer),
            Action::Pull(client) => pull(&mut state, client),
            Action::Leave(client) => {
                state.faults.leaves -= 1;
                state.clients[client].waiting = false;
                for (_, call) in state.sequencers.iter_mut().flat_map(|s| &mut s.calls) {
                    call.heard &= call.event.id.0 != client;
                }
            }
            Action::Deliver(sequencer) => {
                let (request, event) = self.take_open(&mut state, sequencer);
                let reply = self.upstream(&mut state, &request, event);
                if let (true, UpstreamResult::Failed, Some((epoch, _))) =
                    (self.clock_stands, &reply, state.producer)
                {
                    // The server names the epoch to one that is behind.
                    let s = &mut state.sequencers[sequencer];
                    s.epoch = s.epoch.max(epoch);
                }
                self.handle(&mut state, sequencer, Input::Upstream(reply), usize::MAX);
            }
            Action::LoseRequest(sequencer) => {
                state.faults.losses -= 1;
                let (request, event) = self.take_open(&mut state, sequencer);
                self.fail(&mut state, sequencer, &request, event);
            }
            Action::LoseResponse(sequencer) => {
                state.faults.losses -= 1;
                let (request, event) = self.take_open(&mut state, sequencer);
                self.upstream(&mut state, &request, event);
                // What happens meanwhile, happens before the sender gives up.
                if self.mutation == Mutation::BlindRetry && state.faults.amnesias > 0 {
                    state.faults.amnesias -= 1;
                    (state.fence, state.producer) = (None, None);
                }
                self.fail(&mut state, sequencer, &request, event);
            }
            Action::Delay(sequencer) => {
                state.faults.delays -= 1;
                let (request, event) = self.take_open(&mut state, sequencer);
                state.late.extend(event);
                state.late.sort();
                self.fail(&mut state, sequencer, &request, event);
            }
            Action::Land(at) => {
                let sent = state.late.remove(at);
                if !state.lost {
                    self.append(&mut state, sent);
                }
            }
            Action::CrashUnsent(sequencer) => {
                state.faults.crashes -= 1;
                self.restart(&mut state, sequencer);
            }
            Action::CrashInFlight(sequencer) => {
                state.faults.crashes -= 1;
                state.faults.delays -= 1;
                let (_, event) = self.take_open(&mut state, sequencer);
                state.late.extend(event);
                state.late.sort();
                self.restart(&mut state, sequencer);
            }
            Action::CrashAfter(sequencer, survive) => {
                state.faults.crashes -= 1;
                let (request, event) = self.take_open(&mut state, sequencer);
                let reply = self.upstream(&mut state, &request, event);
                let outputs = self.handle(&mut state, sequencer, Input::Upstream(reply), survive);
                if survive > outputs {
                    return None; // the same as with fewer
                }
                self.restart(&mut state, sequencer);
            }
            Action::Amnesia => {
                state.faults.amnesias -= 1;
                (state.fence, state.producer) = (None, None);
            }
            Action::Strange(sequencer, stranger) => {
                state.faults.strangers -= 1;
                let (request, _) = self.take_open(&mut state, sequencer);
                let reply = Self::strange(&request, stranger, &state.log)?;
                self.handle(&mut state, sequencer, Input::Upstream(reply), usize::MAX);
            }
            Action::Wipe => {
                state.faults.wipes -= 1;
                state.lost = true;
            }
            Action::PutBack => state.lost = false,
        }
        state.in_order();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the log is a chain", |_, state: &State| is_chain(&state.log)),
            Property::always(
                "an acknowledged event is in the log exactly once",
                |_, state: &State| {
                    let acknowledged = state.clients.iter().flat_map(|c| &c.acknowledged);
                    acknowledged.into_iter().all(|id| times(&state.log, *id) == 1)
                },
            ),
            Property::always("no event is in the log twice", |_, state: &State| {
                state.log.iter().all(|event| times(&state.log, event.id) == 1)
            }),
            Property::always("no other log takes its place", |_, state: &State| !state.begun_anew),
            // With the next one this means that nobody is refused for ever: a refusal is followed by news, of which
            // there is an end, and every other way to be turned away uses up a fault. So no path is endless.
            Property::always("who is refused has something to pull", |_, state: &State| {
                !state.refused_without_news
            }),
            Property::eventually(
                "every client gets its events in",
                |world: &World, state: &State| {
                    state.clients.iter().zip(&world.clients).all(|(c, wanted)| c.next == *wanted)
                },
            ),
        ]
    }
}
