//! Simulated worlds. Clients follow LiveStore's rules. One store has two Sequencers at the same time, a zombie and its
//! successor. The network loses, delays and repeats requests, strangers answer in the upstream's place, and the upstream
//! loses its disk at times. The log is always a chain, holds every acknowledged event exactly once, and no other log takes
//! its place. Once the faults end, every client gets its events in.

use std::collections::{HashMap, VecDeque};

use headwater_core::batch;
use headwater_core::event::{BackendId, Offset, SeqNum};
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::{
    Answer, Core, Effect, Input, Op, Recorded, Refusal, Request, SequencerLimits, Ticket, Tip,
    UpstreamResult,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::upstream::{Upstream, event};

const CLIENTS: usize = 3;
const SEQUENCERS: usize = 2;

struct Client {
    name: usize,
    /// The number of messages that the client has pulled.
    pulled: usize,
    /// The `seqNum` of the last pulled event.
    head: SeqNum,
    /// Ids of the client's events that it has not pulled yet.
    pending: VecDeque<String>,
    made: u32,
    /// Ids of the events that are being pushed.
    pushing: Option<Vec<String>>,
}

struct Sequencer {
    core: Core,
    stored: Option<Recorded>,
    open: Option<Request>,
    /// The producer epoch. Two Sequencers may have the same one.
    epoch: u64,
    calls: HashMap<Ticket, (usize, Vec<String>)>,
    next_ticket: u64,
}

/// An append that may still land although its sender gave up.
struct Late {
    parent: SeqNum,
    producer: (u64, u64),
    batch: Vec<String>,
}

struct World {
    upstream: Upstream,
    sequencers: Vec<Sequencer>,
    clients: Vec<Client>,
    late: Vec<Late>,
    clock: u64,
    /// The log that the upstream has lost for now.
    lost: Option<Vec<String>>,
    acknowledged: Vec<String>,
}

fn new_core(stored: Option<Recorded>) -> Core {
    let limits = SequencerLimits {
        queue: 2,
        looks: 2,
        queue_bytes: 1 << 20,
        attempts: 2,
        empty_looks: 2,
        requests: 24,
        segment: SegmentSize { events: 3, bytes: 300 },
    };
    Core::new(stored, BackendId("path:t/s".into()), limits)
}

fn id_of(message: &str) -> Option<(String, SeqNum, SeqNum)> {
    let value: Value = serde_json::from_str(message).unwrap();
    Some((
        value["args"]["id"].as_str()?.into(),
        value["seqNum"].as_u64()?,
        value["parentSeqNum"].as_u64()?,
    ))
}

impl World {
    fn new() -> Self {
        let sequencer = |_| Sequencer {
            core: new_core(None),
            stored: None,
            open: None,
            epoch: 0,
            calls: HashMap::new(),
            next_ticket: 0,
        };
        let client = |name| Client {
            name,
            pulled: 0,
            head: 0,
            pending: VecDeque::new(),
            made: 0,
            pushing: None,
        };
        Self {
            upstream: Upstream::default(),
            sequencers: (0..SEQUENCERS).map(sequencer).collect(),
            clients: (0..CLIENTS).map(client).collect(),
            late: Vec::new(),
            clock: 0,
            lost: None,
            acknowledged: Vec::new(),
        }
    }

    /// Makes one thing happen, which `choice` selects.
    fn happen(&mut self, choice: u16, faults: bool) {
        let [kind, which] = choice.to_be_bytes();
        let which = which as usize;
        self.clock += u64::from(which.is_multiple_of(2));
        match (kind % 16, faults) {
            (0..=2, _) => {
                self.client_acts(which % CLIENTS, which / CLIENTS % SEQUENCERS, which / 8);
            }
            (3, _) => self.pull(which % CLIENTS),
            (4..=6, _) | (_, false) => self.perform(which % SEQUENCERS),
            (7, true) => self.lose(which % SEQUENCERS, Loss::Request),
            (8, true) => self.lose(which % SEQUENCERS, Loss::Response),
            (9, true) => self.lose(which % SEQUENCERS, Loss::Late),
            (10, true) => self.land_late(which),
            (11 | 12, true) => self.strange(which % SEQUENCERS, which / SEQUENCERS),
            (13, true) => self.lose_the_log(),
            (14, true) => self.put_the_log_back(),
            (_, true) => self.crash(which % SEQUENCERS, which / SEQUENCERS),
        }
        self.check();
    }

    fn client_acts(&mut self, client: usize, sequencer: usize, makes: usize) {
        let c = &mut self.clients[client];
        if c.pushing.is_some() {
            return;
        }
        for _ in 0..makes % 3 {
            c.pending.push_back(format!("{}-{}", c.name, c.made));
            c.made += 1;
        }
        let ids: Vec<String> = c.pending.iter().take(3).cloned().collect();
        if ids.is_empty() {
            return;
        }
        let events: Vec<String> =
            (c.head..).zip(&ids).map(|(parent, id)| event(parent + 1, parent, id)).collect();
        c.pushing = Some(ids);
        let limits = batch::BatchLimits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20 };
        let checked = batch::check(format!("[{}]", events.join(",")).as_bytes(), limits).unwrap();
        let s = &mut self.sequencers[sequencer];
        let ticket = Ticket(s.next_ticket);
        s.next_ticket += 1;
        s.calls.insert(ticket, (client, events));
        self.handle(
            sequencer,
            Input::Call(ticket, Op::Push { batch: checked, backend_id: None }),
            usize::MAX,
        );
    }

    /// Pulls the whole log. Events in the log are no longer pending.
    fn pull(&mut self, client: usize) {
        let c = &mut self.clients[client];
        for message in self.upstream.log.iter().flatten().skip(c.pulled) {
            c.pulled += 1;
            let Some((id, seq, parent)) = id_of(message) else { continue };
            assert_eq!(parent, c.head, "a client pulled a broken chain");
            c.head = seq;
            c.pending.retain(|pending| *pending != id);
        }
    }

    fn answered(&mut self, client: usize, answer: Option<Answer>) {
        let ids = self.clients[client].pushing.take().expect("a push under way");
        match answer {
            Some(Answer::Accepted(_) | Answer::AcceptedAgain(_)) => self.acknowledged.extend(ids),
            Some(Answer::ServerAhead { .. } | Answer::Gap { .. }) => self.pull(client),
            // The client pushes again later.
            Some(
                Answer::Unavailable | Answer::Overloaded | Answer::Refused(_) | Answer::Halted(..),
            )
            | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Carries out the first `survive` effects. If there are more, the Sequencer then crashes.
    fn handle(&mut self, sequencer: usize, input: Input, survive: usize) {
        let effects = self.sequencers[sequencer].core.handle(input);
        let crashes = survive < effects.len();
        for effect in effects.into_iter().take(survive) {
            let s = &mut self.sequencers[sequencer];
            match effect {
                Effect::Record(tip) => {
                    let tip = Tip { closed: false, ..tip };
                    s.stored = Some(Recorded { tip, deleting: false });
                }
                Effect::Publish(_) | Effect::MetDirectWriter => {}
                Effect::Forget => s.stored = None,
                Effect::Deleting => s.stored.iter_mut().for_each(|stored| stored.deleting = true),
                Effect::Request(request, _) => s.open = Some(request),
                Effect::Answer(ticket, answer) => {
                    let (client, _) = s.calls.remove(&ticket).expect("one answer for each call");
                    self.answered(client, Some(answer));
                }
            }
        }
        if crashes {
            self.restart(sequencer);
        }
    }

    fn take_open(&mut self, sequencer: usize) -> Option<(Request, Vec<String>)> {
        let s = &mut self.sequencers[sequencer];
        let request = s.open.take()?;
        if matches!(request, Request::Append { producer_seq: 0, .. }) {
            s.epoch = self.clock.max(s.epoch + 1);
        }
        let batch = match &request {
            Request::Append { ticket, .. } => s.calls[ticket].1.clone(),
            _ => Vec::new(),
        };
        Some((request, batch))
    }

    fn perform(&mut self, sequencer: usize) {
        let Some((request, batch)) = self.take_open(sequencer) else { return };
        let result = self.upstream.perform(&request, &batch, self.sequencers[sequencer].epoch);
        self.handle(sequencer, Input::Upstream(result), usize::MAX);
    }

    fn lose(&mut self, sequencer: usize, loss: Loss) {
        let Some((request, batch)) = self.take_open(sequencer) else { return };
        match (loss, &request) {
            (Loss::Response, Request::Delete) | (Loss::Request, _) => {}
            (Loss::Response, _) => {
                self.upstream.perform(&request, &batch, self.sequencers[sequencer].epoch);
            }
            (Loss::Late, Request::Append { parent, producer_seq, .. }) => {
                self.late(sequencer, *parent, *producer_seq, batch);
            }
            (Loss::Late, _) => {}
        }
        self.handle(sequencer, Input::Upstream(UpstreamResult::Failed), usize::MAX);
    }

    /// A stranger answers. The upstream may have performed the request all the same.
    fn strange(&mut self, sequencer: usize, how: usize) {
        let Some((request, batch)) = self.take_open(sequencer) else { return };
        let refusal = |status| UpstreamResult::Refused(Refusal { status, retry_after: None });
        let answers = [
            UpstreamResult::Missing,
            UpstreamResult::Gone,
            UpstreamResult::Unreadable,
            refusal(403),
            refusal(400),
            UpstreamResult::Conflict,
            UpstreamResult::Exists,
            UpstreamResult::Checked(
                Some(BackendId("another".into())),
                Offset("00000003".into()).into(),
            ),
        ];
        let answer = match (&request, answers[how % answers.len()].clone()) {
            // A cache on the way answers with an old page.
            (
                Request::ReadAll { .. } | Request::ReadOn { .. },
                UpstreamResult::Conflict | UpstreamResult::Exists,
            ) => self.upstream.perform_at_length(&request, how % 5),
            (_, answer) => answer,
        };
        let creates = matches!(request, Request::Create) && self.lost.is_some();
        if how / answers.len() % 2 == 1 && !creates {
            self.upstream.perform(&request, &batch, self.sequencers[sequencer].epoch);
        }
        self.handle(sequencer, Input::Upstream(answer), usize::MAX);
    }

    /// Loses the log only if every Sequencer knows it. Another one could rightly begin a log.
    fn lose_the_log(&mut self) {
        if self.lost.is_none() && self.sequencers.iter().all(|s| s.stored.is_some()) {
            self.lost = self.upstream.log.take();
        }
    }

    fn put_the_log_back(&mut self) {
        if let Some(log) = self.lost.take() {
            assert_eq!(self.upstream.log.replace(log), None, "a Sequencer began another log");
        }
    }

    fn land_late(&mut self, which: usize) {
        if !self.late.is_empty() {
            let Late { parent, producer, batch } = self.late.swap_remove(which % self.late.len());
            self.upstream.produce(parent, producer, &batch);
        }
    }

    fn late(&mut self, sequencer: usize, parent: SeqNum, producer_seq: u64, batch: Vec<String>) {
        let producer = (self.sequencers[sequencer].epoch, producer_seq);
        self.late.push(Late { parent, producer, batch });
    }

    /// The Sequencer crashes before it sends its request, while the request is on its way, or between two effects of the
    /// result.
    fn crash(&mut self, sequencer: usize, how: usize) {
        let Some((request, batch)) = self.take_open(sequencer) else {
            return self.restart(sequencer);
        };
        match (how % 5, &request) {
            (0, Request::Append { parent, producer_seq, .. }) => {
                self.late(sequencer, *parent, *producer_seq, batch);
            }
            (0 | 1, _) => {}
            (survive, _) => {
                let result =
                    self.upstream.perform(&request, &batch, self.sequencers[sequencer].epoch);
                return self.handle(sequencer, Input::Upstream(result), survive - 2);
            }
        }
        self.restart(sequencer);
    }

    fn restart(&mut self, sequencer: usize) {
        let s = &mut self.sequencers[sequencer];
        s.core = new_core(s.stored.clone());
        s.open = None;
        let waiting: Vec<usize> = s.calls.drain().map(|(_, (client, _))| client).collect();
        for client in waiting {
            self.answered(client, None);
        }
    }

    fn check(&self) {
        let mut head = 0;
        let mut seen: HashMap<String, usize> = HashMap::new();
        assert!(
            self.lost.is_none() || self.upstream.log.is_none(),
            "a Sequencer began another log"
        );
        for (id, seq, parent) in
            self.lost.iter().chain(&self.upstream.log).flatten().filter_map(|m| id_of(m))
        {
            assert_eq!(parent, head, "the chain breaks at {seq}");
            head = seq;
            *seen.entry(id).or_default() += 1;
        }
        for (id, times) in &seen {
            assert_eq!(*times, 1, "event {id} is in the log {times} times");
        }
        for id in &self.acknowledged {
            assert!(seen.contains_key(id), "event {id} was acknowledged and lost");
        }
    }

    /// Ends the faults, and lets all take turns until no event is pending.
    fn calm(&mut self) {
        self.late.clear();
        self.put_the_log_back();
        for round in 0.. {
            assert!(
                round < 200,
                "a client's events never get in: {:?} {:?}",
                self.sequencers[0].core,
                self.upstream.log
            );
            for sequencer in 0..SEQUENCERS {
                while self.sequencers[sequencer].open.is_some() {
                    self.perform(sequencer);
                }
            }
            if self.clients.iter().all(|c| c.pending.is_empty() && c.pushing.is_none()) {
                return self.check();
            }
            self.clock += 1;
            for client in 0..CLIENTS {
                self.pull(client);
                self.client_acts(client, 0, 0);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Loss {
    Request,
    Response,
    Late,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn events_are_neither_lost_nor_doubled_under_faults_and_all_get_in(choices in prop::collection::vec(any::<u16>(), 0..400)) {
        let mut world = World::new();
        for choice in choices {
            world.happen(choice, true);
        }
        world.calm();
    }

    #[test]
    fn events_are_neither_lost_nor_doubled_without_faults(choices in prop::collection::vec(any::<u16>(), 0..200)) {
        let mut world = World::new();
        for choice in choices {
            world.happen(choice, false);
        }
        world.calm();
    }
}
