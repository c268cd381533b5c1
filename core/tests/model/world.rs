//! The world as a [`Model`]. Clients push, and push again. Sequencers act on one stream; one of them may be a zombie
//! that does not know its successor. The network loses requests and answers, strangers answer in the upstream's place,
//! and the upstream may lose its disk for a while. An administrator archives, resets or deletes the store. The number
//! of faults of each kind is part of the state, so that every path ends.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use headwater_core::event::{ROOT, SeqNum};
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::{
    Answer, Core, Effect, Input, Op, Recorded, Request, SequencerLimits, Ticket, Tip,
    UpstreamResult,
};
use stateright::{Model, Property};

use super::upstream::{Event, Id, ProducedEvent, backend_id, is_chain, times};
use crate::support::admission::Admission;

/// The size of a world, and the faults that may happen in it.
#[derive(Clone, Debug)]
pub struct World {
    pub sequencers: usize,
    /// The number of events that each client pushes, one in each push.
    pub clients: Vec<u8>,
    pub faults: Faults,
    pub mutation: Mutation,
    /// Whether all clocks agree and stand still. Then two Sequencers may choose the same producer epoch.
    pub clock_stands: bool,
    /// What an administrator does to the store, again until it is done.
    pub administers: Option<Administration>,
    /// Whether the log is built in. Then the log and the rows change in one transaction, and no answer leaves before it
    /// is durable. A request that the network loses is a write that failed.
    pub built_in: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Administration {
    Archive,
    Reset,
    /// For good.
    Delete,
}

impl Administration {
    fn op(self) -> Op {
        match self {
            Self::Archive => Op::Close(None),
            Self::Reset => Op::Reset,
            Self::Delete => Op::Delete(backend_id(0)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Requests and answers that the network loses.
    pub losses: u8,
    /// Appends that land after their sender gave up, or never.
    pub delays: u8,
    /// Sequencers that crash, and start again from their rows.
    pub crashes: u8,
    /// Clients that stop waiting for an answer.
    pub leaves: u8,
    /// Crashes of the upstream that make it forget the last `Stream-Seq` and the producers.
    pub amnesias: u8,
    /// Foreign answers.
    pub strangers: u8,
    /// Times at which the upstream loses the log, until an operator puts it back.
    pub wipes: u8,
}

/// Ways to break the protocol. They prove that the checker can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// The upstream does not compare `Stream-Seq`.
    NoFence,
    /// The Sequencer repeats an append with an unknown outcome without a look at the log.
    BlindRetry,
    /// The Sequencer acknowledges a push before the append.
    HeadBeforeAppend,
    /// The Sequencer takes "duplicate" (204) for landed.
    DuplicateIsLanded,
    /// The Sequencer takes a missing stream for one that it deleted.
    MissingIsReset,
    /// The Sequencer does not store that it is about to delete the stream.
    IntentIsNotStored,
    /// Answers leave before the transaction is durable.
    AnswerBeforeCommit,
}

/// A foreign answer.
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub log: Vec<Event>,
    pub(super) admission: Admission,
    /// The number of streams that were created after the first one.
    pub incarnation: u8,
    pub(super) stream: Stream,
    /// Whether a Sequencer has begun another log meanwhile.
    pub has_other_log: bool,
    sequencers: Vec<Sequencer>,
    pub clients: Vec<Client>,
    administrator: Administrator,
    /// Appends whose senders gave up. They are sorted, so that equal worlds are equal.
    late: Vec<ProducedEvent>,
    faults: Faults,
    /// Whether a client was refused although it had pulled the whole log.
    pub refused_without_news: bool,
    /// Whether an answer said something of the stream that is not so.
    pub is_misled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    Open,
    Closed,
    Deleted,
    /// The upstream has lost the log for now.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Administrator {
    Ready,
    Waiting,
    Done,
}

impl State {
    /// Whether the stream that all clients know is gone.
    fn is_another(&self) -> bool {
        self.stream == Stream::Deleted || self.incarnation > 0
    }

    fn epochs(&mut self) -> impl Iterator<Item = &mut u64> {
        let late = self.late.iter_mut().map(|(_, (epoch, _))| epoch);
        let producer = self.admission.producer.iter_mut().map(|(epoch, _)| epoch);
        self.sequencers.iter_mut().map(|s| &mut s.epoch).chain(late).chain(producer)
    }

    /// Makes worlds equal that differ only in the order of the Sequencers, or in the distance between epochs.
    fn normalize(&mut self) {
        let mut used: Vec<u64> =
            self.epochs().map(|epoch| *epoch).filter(|epoch| *epoch > 0).collect();
        used.sort_unstable();
        used.dedup();
        for epoch in self.epochs().filter(|epoch| **epoch > 0) {
            *epoch = 1 + used.binary_search(epoch).expect("a used epoch") as u64;
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        self.sequencers.sort_by_cached_key(|sequencer| hasher.hash_one(sequencer));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sequencer {
    core: Core,
    /// What the storage may hold after a crash: the rows lag behind the log by any number of appends.
    rows: Vec<Option<Recorded>>,
    /// The producer epoch; 0 if the next append begins a new one.
    epoch: u64,
    open: Option<Request>,
    calls: Vec<(Ticket, Call)>,
}

impl Sequencer {
    /// The first row of an incarnation is durable at once. Later rows may lag.
    fn record(&mut self, recorded: Recorded, may_lag: bool) {
        let last = self.rows.last().and_then(Option::as_ref);
        let goes_on = last.is_some_and(|last| {
            last.tip.backend_id == recorded.tip.backend_id && last.deleting == recorded.deleting
        });
        if !goes_on || !may_lag {
            self.rows.clear();
        }
        self.rows.push(Some(recorded));
    }

    fn has_row(&self) -> bool {
        self.rows.iter().all(Option::is_some)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    /// The event of a push; `None` for the administrator's call.
    event: Option<Event>,
    /// Whether the client still waits.
    is_awaited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Whether it has pushed. Until then, clients with as many events are interchangeable.
    has_begun: bool,
    head: SeqNum,
    pulled: usize,
    /// The next event to push. All events are in the log when it equals `World::clients`.
    pub next: u8,
    waiting: bool,
    pub acknowledged: Vec<Id>,
    /// Whether it was told that the store takes no pushes, or is another one.
    pub is_over: bool,
}

/// The moment of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before the request is sent.
    Unsent,
    /// While the request is on its way.
    InFlight,
    /// After this many effects of the result.
    After(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client pulls until it has this many events of the log, and pushes its next event.
    Push {
        client: usize,
        pulled: usize,
        sequencer: usize,
    },
    /// The client pulls the whole log, and finds its last event there.
    Finish(usize),
    /// The administrator calls this Sequencer.
    Administer(usize),
    Leave(usize),
    Deliver(usize),
    LoseRequest(usize),
    LoseResponse(usize),
    Delay(usize),
    Land(usize),
    /// A crash at this moment. The storage holds this one of its rows.
    Crash {
        sequencer: usize,
        moment: Moment,
        row: usize,
    },
    Amnesia,
    ForeignAnswer(usize, Stranger),
    Wipe,
    PutBack,
}

/// The most effects of one result that a crash cuts short.
const MOST_EFFECTS: usize = 4;

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
    Core::new(stored, backend_id(0), limits)
}

impl World {
    /// Hands an input to a core, and carries out the first `survive` effects. A built-in log's transaction has all rows
    /// or none. Returns the number of all effects.
    fn handle(&self, state: &mut State, sequencer: usize, input: Input, survive: usize) -> usize {
        let effects = state.sequencers[sequencer].core.handle(input);
        let all = effects.len();
        for (at, effect) in effects.into_iter().enumerate() {
            let is_row = matches!(effect, Effect::Record(_) | Effect::Forget | Effect::Deleting);
            if at >= survive && !(self.built_in && is_row) {
                continue;
            }
            let s = &mut state.sequencers[sequencer];
            match effect {
                Effect::Record(tip) => {
                    let tip = Tip { closed: false, ..tip };
                    let deleting = self.mutation == Mutation::MissingIsReset;
                    s.record(Recorded { tip, deleting }, !self.built_in);
                }
                Effect::Publish(_) | Effect::MetDirectWriter => {}
                Effect::Forget => s.rows = vec![None],
                Effect::Deleting if self.mutation == Mutation::IntentIsNotStored => {}
                Effect::Deleting => {
                    // The rows before are durable, too.
                    s.rows.drain(..s.rows.len() - 1);
                    s.rows.iter_mut().flatten().for_each(|row| row.deleting = true);
                }
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
                    let at = s
                        .calls
                        .iter()
                        .position(|(t, _)| *t == ticket)
                        .expect("one answer for each call");
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
        let awaited = *call;
        call.is_awaited = false;
        let tip = s.core.tip().expect("a tip").clone();
        self.answered(state, awaited, Some(Answer::Accepted(tip)));
    }

    fn answered(&self, state: &mut State, call: Call, answer: Option<Answer>) {
        let Some(event) = call.event else {
            return self.administered(state, answer);
        };
        if !call.is_awaited {
            return;
        }
        let client = event.id.0;
        let is_another = state.is_another();
        let c = &mut state.clients[client];
        c.waiting = false;
        match answer {
            Some(Answer::Accepted(_) | Answer::AcceptedAgain(_)) => {
                c.acknowledged.push(event.id);
                if event.id.1 == c.next {
                    c.next += 1;
                    c.head = c.head.max(event.seq());
                }
            }
            // A pull tells the client that its log is gone.
            Some(Answer::ServerAhead { .. } | Answer::Gap { .. }) if is_another => c.is_over = true,
            Some(Answer::ServerAhead { .. } | Answer::Gap { .. }) => {
                state.refused_without_news |= c.pulled == state.log.len();
                let c = &mut state.clients[client];
                *c = c.pull(client, &state.log);
            }
            Some(Answer::Closed(_)) => {
                c.is_over = true;
                state.is_misled |= state.stream != Stream::Closed && !is_another;
            }
            Some(Answer::BackendIdMismatch { .. }) => {
                c.is_over = true;
                state.is_misled |= !is_another;
            }
            Some(Answer::Halted(..)) => state.is_misled |= self.administers.is_some(),
            Some(Answer::Unavailable | Answer::Overloaded) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    fn administered(&self, state: &mut State, answer: Option<Answer>) {
        let State { incarnation, stream, .. } = *state;
        let is_true = match (self.administers, answer) {
            (_, Some(Answer::Unavailable | Answer::Overloaded) | None) => {
                state.administrator = Administrator::Ready;
                return;
            }
            (_, Some(Answer::Halted(..))) => false,
            (Some(Administration::Archive), Some(Answer::Tip(Some(tip)))) => {
                tip.closed && stream == Stream::Closed
            }
            (Some(Administration::Reset), Some(Answer::Tip(Some(tip)))) => {
                incarnation > 0
                    && stream == Stream::Open
                    && tip.backend_id == backend_id(incarnation)
            }
            (Some(Administration::Delete), Some(Answer::Deleted | Answer::Tip(None))) => {
                stream == Stream::Deleted
            }
            (Some(Administration::Delete), Some(Answer::BackendIdMismatch { .. })) => {
                incarnation > 0
            }
            (_, Some(other)) => panic!("{other:?}"),
        };
        state.administrator = Administrator::Done;
        state.is_misled |= !is_true;
    }

    fn take_open(&self, state: &mut State, sequencer: usize) -> (Request, Option<ProducedEvent>) {
        let next = 1 + state.epochs().map(|epoch| *epoch).max().unwrap_or(0);
        let s = &mut state.sequencers[sequencer];
        let request = s.open.take().expect("an open request");
        let event = match &request {
            Request::Append { ticket, producer_seq, .. } => {
                if *producer_seq == 0 {
                    // Each epoch is above all others, unless the clocks stand still.
                    s.epoch = if self.clock_stands { s.epoch + 1 } else { next };
                }
                s.calls
                    .iter()
                    .find(|(t, _)| t == ticket)
                    .and_then(|(_, call)| Some((call.event?, (s.epoch, *producer_seq))))
            }
            _ => None,
        };
        (request, event)
    }

    fn fail(
        &self,
        state: &mut State,
        sequencer: usize,
        request: &Request,
        event: Option<ProducedEvent>,
    ) {
        let result = match (self.mutation, request) {
            (Mutation::BlindRetry, Request::Append { .. }) => self.upstream(state, request, event),
            _ => UpstreamResult::Failed,
        };
        self.handle(state, sequencer, Input::Upstream(result), usize::MAX);
    }

    /// Starts again from one of the rows that the storage may hold.
    fn restart(&self, state: &mut State, sequencer: usize, row: usize) -> Option<()> {
        let s = &mut state.sequencers[sequencer];
        let stored = s.rows.get(row)?.clone();
        s.core = new_core(stored.clone());
        s.rows = vec![stored];
        (s.open, s.epoch) = (None, 0);
        for (_, call) in std::mem::take(&mut s.calls) {
            self.answered(state, call, None);
        }
        Some(())
    }

    /// `None` if the same crash has another name.
    fn crash(&self, state: &mut State, sequencer: usize, moment: Moment, row: usize) -> Option<()> {
        match moment {
            Moment::Unsent => {}
            Moment::InFlight => {
                state.faults.delays -= 1;
                let (_, event) = self.take_open(state, sequencer);
                state.late.extend(event);
                state.late.sort();
            }
            Moment::After(survive) => {
                let before = state.clone();
                let (request, event) = self.take_open(state, sequencer);
                let result = self.upstream(state, &request, event);
                let effects = self.handle(state, sequencer, Input::Upstream(result), survive);
                if survive > effects {
                    return None;
                }
                if self.mutation == Mutation::AnswerBeforeCommit {
                    state.log = before.log;
                    state.admission = before.admission;
                    state.sequencers[sequencer].rows.clone_from(&before.sequencers[sequencer].rows);
                }
            }
        }
        self.restart(state, sequencer, row)
    }

    /// Whether no client that could stand in for this one comes before it.
    fn may_act(&self, state: &State, client: usize) -> bool {
        let events = self.clients[client];
        state.clients[client].has_begun
            || !(0..client).any(|c| self.clients[c] == events && !state.clients[c].has_begun)
    }

    /// What a client that waits for nothing may do. It pulls at the latest moment at which that makes a difference, because
    /// a pull changes nothing that others see.
    fn client_actions(&self, state: &State, client: usize, actions: &mut Vec<Action>) {
        let c = &state.clients[client];
        if state.is_another() {
            // Its push is the first to learn that its log is gone.
            let (sequencers, pulled) = (0..self.sequencers, c.pulled);
            return actions.extend(sequencers.map(|sequencer| Action::Push {
                client,
                pulled,
                sequencer,
            }));
        }
        for pulled in c.pulled..=state.log.len() {
            if c.pull(client, &state.log[..pulled]).next == self.clients[client] {
                actions.push(Action::Finish(client));
                break;
            }
            let sequencers = 0..self.sequencers;
            actions.extend(sequencers.map(|sequencer| Action::Push { client, pulled, sequencer }));
        }
    }

    fn push(&self, state: &mut State, client: usize, pulled: usize, sequencer: usize) {
        let c = &mut state.clients[client];
        *c = c.pull(client, state.log.get(..pulled).unwrap_or_default());
        (c.has_begun, c.waiting) = (true, true);
        let event = Event { id: Id(client, c.next), parent: c.head };
        // Without an administrator there is one incarnation.
        let backend_id = self.administers.map(|_| backend_id(0));
        self.call(state, sequencer, Some(event), Op::Push { batch: event.batch(), backend_id });
    }

    fn call(&self, state: &mut State, sequencer: usize, event: Option<Event>, op: Op) {
        let s = &mut state.sequencers[sequencer];
        let ticket = (0..=s.calls.len() as u64)
            .map(Ticket)
            .find(|t| s.calls.iter().all(|(used, _)| used != t))
            .expect("a free ticket");
        s.calls.push((ticket, Call { event, is_awaited: true }));
        self.handle(state, sequencer, Input::Call(ticket, op), usize::MAX);
    }
}

impl Client {
    /// Pulls by LiveStore's rule: events in the log are no longer pending, and the rest follows the head.
    fn pull(&self, own: usize, log: &[Event]) -> Client {
        let mut pulled = self.clone();
        let Some(news) = log.get(self.pulled..) else { return pulled };
        for event in news {
            pulled.head = pulled.head.max(event.seq());
            if event.id == Id(own, pulled.next) {
                pulled.next += 1;
            }
        }
        pulled.pulled = log.len();
        pulled
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let sequencer = Sequencer {
            core: new_core(None),
            rows: vec![None],
            epoch: 0,
            open: None,
            calls: Vec::new(),
        };
        let client = Client {
            has_begun: false,
            head: ROOT,
            pulled: 0,
            next: 0,
            waiting: false,
            acknowledged: Vec::new(),
            is_over: false,
        };
        vec![State {
            log: Vec::new(),
            admission: Admission::default(),
            incarnation: 0,
            stream: Stream::Open,
            has_other_log: false,
            sequencers: vec![sequencer; self.sequencers],
            clients: vec![client; self.clients.len()],
            administrator: match self.administers {
                Some(_) => Administrator::Ready,
                None => Administrator::Done,
            },
            late: Vec::new(),
            faults: self.faults,
            refused_without_news: false,
            is_misled: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Faults { losses, delays, crashes, leaves, amnesias, strangers, wipes } = state.faults;
        for (client, c) in state.clients.iter().enumerate() {
            if c.waiting {
                if leaves > 0 {
                    actions.push(Action::Leave(client));
                }
            } else if !c.is_over && c.next < self.clients[client] && self.may_act(state, client) {
                self.client_actions(state, client, actions);
            }
        }
        for (sequencer, s) in state.sequencers.iter().enumerate() {
            let Some(request) = &s.open else { continue };
            let appends = matches!(request, Request::Append { .. });
            let administers = matches!(request, Request::Close | Request::Delete | Request::Create)
                && self.administers.is_some();
            actions.push(Action::Deliver(sequencer));
            if strangers > 0 {
                // A Sequencer without a row can't tell a foreign log from its own.
                let knows = s.has_row();
                let all = [Stranger::Missing, Stranger::Gone, Stranger::Another, Stranger::Empty];
                let possible = all.into_iter().filter(|stranger| {
                    (knows || matches!(stranger, Stranger::Missing | Stranger::Gone))
                        && Self::strange(request, *stranger, &state.log).is_some()
                });
                actions.extend(possible.map(|stranger| Action::ForeignAnswer(sequencer, stranger)));
            }
            if losses > 0 {
                actions.push(Action::LoseRequest(sequencer));
                if (appends || administers) && !self.built_in {
                    actions.push(Action::LoseResponse(sequencer));
                }
            }
            if delays > 0 && appends {
                actions.push(Action::Delay(sequencer));
            }
            if crashes > 0 {
                let in_flight = (appends && delays > 0).then_some(Moment::InFlight);
                let after = (0..=MOST_EFFECTS).map(Moment::After);
                for moment in [Moment::Unsent].into_iter().chain(in_flight).chain(after) {
                    // The result may bring one more row.
                    let rows = 0..=s.rows.len();
                    actions.extend(rows.map(|row| Action::Crash { sequencer, moment, row }));
                }
            }
        }
        if state.administrator == Administrator::Ready {
            actions.extend((0..self.sequencers).map(Action::Administer));
        }
        actions.extend((0..state.late.len()).map(Action::Land));
        if amnesias > 0 && state.admission.fence.is_some() {
            actions.push(Action::Amnesia);
        }
        // A Sequencer without a row may rightly begin a log.
        if wipes > 0
            && state.stream != Stream::Lost
            && state.sequencers.iter().all(Sequencer::has_row)
        {
            actions.push(Action::Wipe);
        }
        if state.stream == Stream::Lost {
            actions.push(Action::PutBack);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Push { client, pulled, sequencer } => {
                self.push(&mut state, client, pulled, sequencer);
            }
            Action::Finish(client) => {
                let c = &mut state.clients[client];
                *c = c.pull(client, &state.log);
            }
            Action::Administer(sequencer) => {
                state.administrator = Administrator::Waiting;
                let op = self.administers.expect("an administrator").op();
                self.call(&mut state, sequencer, None, op);
            }
            Action::Leave(client) => {
                state.faults.leaves -= 1;
                state.clients[client].waiting = false;
                for (_, call) in state.sequencers.iter_mut().flat_map(|s| &mut s.calls) {
                    call.is_awaited &= call.event.is_none_or(|event| event.id.0 != client);
                }
            }
            Action::Deliver(sequencer) => {
                let (request, event) = self.take_open(&mut state, sequencer);
                let result = self.upstream(&mut state, &request, event);
                if let (true, UpstreamResult::Failed, Some((epoch, _))) =
                    (self.clock_stands, &result, state.admission.producer)
                {
                    // The server names the epoch to a producer that is behind.
                    let s = &mut state.sequencers[sequencer];
                    s.epoch = s.epoch.max(epoch);
                }
                self.handle(&mut state, sequencer, Input::Upstream(result), usize::MAX);
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
                // The upstream may crash before the sender gives up.
                if self.mutation == Mutation::BlindRetry && state.faults.amnesias > 0 {
                    state.faults.amnesias -= 1;
                    state.admission.forget();
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
                if matches!(state.stream, Stream::Open | Stream::Closed) {
                    self.append(&mut state, sent);
                }
            }
            Action::Crash { sequencer, moment, row } => {
                state.faults.crashes -= 1;
                self.crash(&mut state, sequencer, moment, row)?;
            }
            Action::Amnesia => {
                state.faults.amnesias -= 1;
                state.admission.forget();
            }
            Action::ForeignAnswer(sequencer, stranger) => {
                state.faults.strangers -= 1;
                let (request, _) = self.take_open(&mut state, sequencer);
                let result = Self::strange(&request, stranger, &state.log)?;
                self.handle(&mut state, sequencer, Input::Upstream(result), usize::MAX);
            }
            Action::Wipe => {
                state.faults.wipes -= 1;
                state.stream = Stream::Lost;
            }
            Action::PutBack => state.stream = Stream::Open,
        }
        state.normalize();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the log is a chain", |_, state: &State| is_chain(&state.log)),
            Property::always(
                "an acknowledged event is in the log exactly once",
                |_, state: &State| {
                    if state.is_another() {
                        return true;
                    }
                    let acknowledged = state.clients.iter().flat_map(|c| &c.acknowledged);
                    acknowledged.into_iter().all(|id| times(&state.log, *id) == 1)
                },
            ),
            Property::always("no event is in the log twice", |_, state: &State| {
                state.log.iter().all(|event| times(&state.log, event.id) == 1)
            }),
            // All clients know the first one.
            Property::always("no event is in the wrong incarnation", |_, state: &State| {
                state.incarnation == 0 || state.log.is_empty()
            }),
            Property::always("no answer misleads", |_, state: &State| !state.is_misled),
            Property::eventually("the administrator's call succeeds", |_, state: &State| {
                state.administrator == Administrator::Done
            }),
            Property::always("no other log takes its place", |_, state: &State| {
                !state.has_other_log
            }),
            // Together with the next property, this means that no client is refused forever. News follows each refusal,
            // and every other failure uses up a fault. Both come to an end, therefore each path does.
            Property::always("a refused client has something to pull", |_, state: &State| {
                !state.refused_without_news
            }),
            Property::eventually(
                "every client gets its events in",
                |world: &World, state: &State| {
                    let mut clients = state.clients.iter().zip(&world.clients);
                    clients.all(|(c, events)| c.is_over || c.next == *events)
                },
            ),
        ]
    }
}
