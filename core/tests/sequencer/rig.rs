//! A Sequencer with its storage and its upstream, driven step by step.

use headwater_core::batch::{self, Batch};
use headwater_core::event::{BackendId, SeqNum};
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::{
    Answer, Core, Effect, Halt, Input, News, Op, Recorded, Request, SequencerLimits, Ticket, Tip,
    UpstreamResult,
};

use crate::support::upstream::{Upstream, event};

pub const LIMITS: SequencerLimits = SequencerLimits {
    queue: 4,
    looks: 5,
    queue_bytes: 10_000,
    attempts: 3,
    empty_looks: 3,
    requests: 24,
    segment: SEGMENT,
};

/// A segment ends at the append that makes it as long as this.
const SEGMENT: SegmentSize = SegmentSize { events: 5, bytes: 1_000 };

/// A Sequencer, its storage and its upstream.
pub struct Rig {
    pub core: Core,
    pub stored: Option<Recorded>,
    pub upstream: Upstream,
    batches: Vec<Vec<String>>,
    pub answers: Vec<Option<Answer>>,
    pub open: Option<Request>,
    /// The pause before the open request.
    pub pause: u8,
    /// The producer epoch.
    pub epoch: u64,
    /// The number of rows that were recorded.
    pub recorded: usize,
    pub published: Vec<News>,
    pub met_direct_writer: bool,
}

pub fn rig() -> Rig {
    Rig {
        core: Core::new(None, implicit(), LIMITS),
        stored: None,
        upstream: Upstream::default(),
        batches: Vec::new(),
        answers: Vec::new(),
        open: None,
        pause: 0,
        epoch: 0,
        recorded: 0,
        published: Vec::new(),
        met_direct_writer: false,
    }
}

pub fn implicit() -> BackendId {
    BackendId("path:t/s".into())
}

pub fn incarnation(n: u32) -> BackendId {
    BackendId(format!("life-{n}"))
}

/// A batch of `count` events that follows `parent`.
pub fn chain(parent: SeqNum, count: u64, id: &str) -> Vec<String> {
    (0..count).map(|i| event(parent + i + 1, parent + i, &format!("{id}{i}"))).collect()
}

pub fn checked(events: &[String]) -> Batch {
    let limits = batch::BatchLimits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20 };
    batch::check(format!("[{}]", events.join(",")).as_bytes(), limits).expect("a batch")
}

impl Rig {
    /// A warm Sequencer whose log holds `head` events.
    pub fn warm(head: SeqNum) -> Self {
        let mut rig = rig();
        if head > 0 {
            assert!(matches!(rig.push(chain(0, head, "warm")), Answer::Accepted(_)));
        } else {
            rig.call(Op::Ensure);
        }
        rig.upstream.requests.clear();
        rig.recorded = 0;
        rig.published.clear();
        rig
    }

    /// Hands in a call, and leaves its request open.
    pub fn begin(&mut self, op: Op, batch: Vec<String>) -> usize {
        let ticket = Ticket(self.answers.len() as u64);
        self.answers.push(None);
        self.batches.push(batch);
        self.handle(Input::Call(ticket, op));
        ticket.0 as usize
    }

    pub fn begin_push(&mut self, events: Vec<String>) -> usize {
        self.begin(Op::Push { batch: checked(&events), backend_id: None }, events)
    }

    pub fn call(&mut self, op: Op) -> Answer {
        let call = self.begin(op, Vec::new());
        self.settle();
        self.answer(call)
    }

    pub fn push(&mut self, events: Vec<String>) -> Answer {
        let call = self.begin_push(events);
        self.settle();
        self.answer(call)
    }

    pub fn answer(&self, call: usize) -> Answer {
        self.answers[call].clone().expect("an answer")
    }

    pub fn handle(&mut self, input: Input) {
        for effect in self.core.handle(input) {
            match effect {
                Effect::Record(tip) => {
                    let tip = Tip { closed: false, ..tip };
                    self.stored = Some(Recorded { tip, deleting: false });
                    self.recorded += 1;
                }
                Effect::Forget => self.stored = None,
                Effect::Deleting => {
                    self.stored.iter_mut().for_each(|stored| stored.deleting = true);
                }
                Effect::MetDirectWriter => self.met_direct_writer = true,
                Effect::Publish(news) => self.published.push(news),
                Effect::Answer(Ticket(call), answer) => self.answers[call as usize] = Some(answer),
                Effect::Request(request, pause) => {
                    self.pause = pause;
                    assert!(self.open.replace(request).is_none(), "two requests are open");
                }
            }
        }
    }

    /// Performs the open request, and hands its result or `instead` to the core.
    pub fn step(&mut self, instead: Option<UpstreamResult>) {
        let request = self.open.take().expect("a request is open");
        let batch = match &request {
            Request::Append { ticket, .. } => self.batches[ticket.0 as usize].clone(),
            _ => Vec::new(),
        };
        if matches!(request, Request::Append { producer_seq: 0, .. }) {
            self.epoch += 1;
        }
        let result = self.upstream.perform(&request, &batch, self.epoch);
        self.handle(Input::Upstream(instead.unwrap_or(result)));
    }

    pub fn lose_request(&mut self) {
        self.open.take().expect("a request is open");
        self.handle(Input::Upstream(UpstreamResult::Failed));
    }

    pub fn settle(&mut self) {
        while self.open.is_some() {
            self.step(None);
        }
    }

    /// Performs requests until the one that is open is of this kind.
    pub fn step_to(&mut self, request: &Request) {
        while self.open.as_ref().is_some_and(|open| open != request) {
            self.step(None);
        }
        assert_eq!(self.open.as_ref(), Some(request));
    }

    pub fn restart(&mut self) {
        self.core = Core::new(self.stored.clone(), implicit(), LIMITS);
        self.open = None;
        self.upstream.requests.clear();
    }

    pub fn stored_tip(&self) -> Option<&Tip> {
        self.stored.as_ref().map(|stored| &stored.tip)
    }

    pub fn log(&self) -> &[String] {
        &self.upstream.log.as_ref().expect("a stream")[1..]
    }
}

pub fn head(answer: &Answer) -> SeqNum {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => tip.head,
        other => panic!("{other:?} has no head"),
    }
}

pub fn missing(acknowledged: SeqNum) -> Answer {
    Answer::Halted(Halt::Missing(acknowledged), Some(incarnation(1)))
}

pub fn replaced(found: u32) -> Answer {
    Answer::Halted(Halt::Replaced(incarnation(found)), Some(incarnation(1)))
}

pub fn closed(answer: Answer) -> Tip {
    match answer {
        Answer::Closed(tip) if tip.closed => tip,
        other => panic!("{other:?}"),
    }
}

pub fn tip(answer: Answer) -> Tip {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => tip,
        other => panic!("{other:?}"),
    }
}
