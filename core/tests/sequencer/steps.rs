//! The steps of each call, and each surprise in the log, with the requests that they cost.

use headwater_core::batch::{self, Batch};
use headwater_core::event::{BackendId, Offset, SeqNum};
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::{
    Answer, Core, Effect, Foresight, Halt, Input, Need, Op, Recorded, Refusal, Request,
    SequencerLimits, Ticket, Tip, UpstreamResult, reject_if_stale,
};

use crate::support::upstream::{Upstream, event};

const LIMITS: SequencerLimits = SequencerLimits {
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
struct Rig {
    core: Core,
    stored: Option<Recorded>,
    upstream: Upstream,
    batches: Vec<Vec<String>>,
    answers: Vec<Option<Answer>>,
    open: Option<Request>,
    /// The pause before the open request.
    pause: u8,
    /// The producer epoch.
    epoch: u64,
    /// The number of rows that were recorded.
    recorded: usize,
}

fn rig() -> Rig {
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
    }
}

fn implicit() -> BackendId {
    BackendId("path:t/s".into())
}

fn incarnation(n: u32) -> BackendId {
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
    fn warm(head: SeqNum) -> Self {
        let mut rig = rig();
        if head > 0 {
            assert!(matches!(rig.push(chain(0, head, "warm")), Answer::Accepted(_)));
        } else {
            rig.call(Op::Ensure);
        }
        rig.upstream.requests.clear();
        rig.recorded = 0;
        rig
    }

    /// Hands in a call, and leaves its request open.
    fn begin(&mut self, op: Op, batch: Vec<String>) -> usize {
        let ticket = Ticket(self.answers.len() as u64);
        self.answers.push(None);
        self.batches.push(batch);
        self.handle(Input::Call(ticket, op));
        ticket.0 as usize
    }

    fn begin_push(&mut self, events: Vec<String>) -> usize {
        self.begin(Op::Push { batch: checked(&events), backend_id: None }, events)
    }

    fn call(&mut self, op: Op) -> Answer {
        let call = self.begin(op, Vec::new());
        self.settle();
        self.answer(call)
    }

    fn push(&mut self, events: Vec<String>) -> Answer {
        let call = self.begin_push(events);
        self.settle();
        self.answer(call)
    }

    fn answer(&self, call: usize) -> Answer {
        self.answers[call].clone().expect("an answer")
    }

    fn handle(&mut self, input: Input) {
        for effect in self.core.handle(input) {
            match effect {
                Effect::Record(tip) => {
                    self.stored = Some(Recorded { tip, deleting: false });
                    self.recorded += 1;
                }
                Effect::Forget => self.stored = None,
                Effect::Deleting => {
                    self.stored.iter_mut().for_each(|stored| stored.deleting = true);
                }
                Effect::Answer(Ticket(call), answer) => self.answers[call as usize] = Some(answer),
                Effect::Request(request, pause) => {
                    self.pause = pause;
                    assert!(self.open.replace(request).is_none(), "two requests are open");
                }
            }
        }
    }

    /// Performs the open request, and hands its result or `instead` to the core.
    fn step(&mut self, instead: Option<UpstreamResult>) {
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

    fn lose_request(&mut self) {
        self.open.take().expect("a request is open");
        self.handle(Input::Upstream(UpstreamResult::Failed));
    }

    fn settle(&mut self) {
        while self.open.is_some() {
            self.step(None);
        }
    }

    fn restart(&mut self) {
        self.core = Core::new(self.stored.clone(), implicit(), LIMITS);
        self.open = None;
        self.upstream.requests.clear();
    }

    fn stored_tip(&self) -> Option<&Tip> {
        self.stored.as_ref().map(|stored| &stored.tip)
    }

    fn log(&self) -> &[String] {
        &self.upstream.log.as_ref().expect("a stream")[1..]
    }
}

fn head(answer: &Answer) -> SeqNum {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => tip.head,
        other => panic!("{other:?} has no head"),
    }
}

#[test]
fn the_first_push_creates_the_stream() {
    let mut rig = rig();
    assert_eq!(head(&rig.push(chain(0, 2, "a"))), 2);
    assert_eq!(rig.upstream.requests, ["GET", "PUT", "POST"]);
    assert_eq!(rig.log(), chain(0, 2, "a"));
}

#[test]
fn an_accepted_push_costs_one_request_and_one_row() {
    let mut rig = Rig::warm(3);
    assert_eq!(head(&rig.push(chain(3, 2, "a"))), 5);
    assert_eq!(rig.upstream.requests, ["POST"]);
    assert_eq!(rig.recorded, 1);
}

#[test]
fn a_stale_push_behind_an_append_is_refused_at_once() {
    let mut rig = Rig::warm(3);
    let slow = rig.begin_push(chain(3, 1, "slow"));
    let stale = rig.begin_push(chain(2, 1, "stale"));
    assert_eq!(rig.answer(stale), Answer::ServerAhead { minimum_expected: 4, provided: 3 });
    assert_eq!(rig.answers[slow], None);
    assert!(rig.upstream.requests.is_empty(), "the refusal costs a request");
}

#[test]
fn a_foreseen_answer_is_the_answer_of_the_call() {
    let mut rig = Rig::warm(3);
    let push = |events: Vec<String>, backend_id| Op::Push { batch: checked(&events), backend_id };
    let ahead = Answer::ServerAhead { minimum_expected: 4, provided: 3 };
    let again = Answer::AcceptedAgain(rig.core.tip().unwrap().clone());
    let gap = Answer::Gap { head: 3, parent: 7 };
    let mismatch = Answer::BackendIdMismatch { expected: incarnation(1), received: incarnation(2) };
    let follows = chain(3, 1, "a");
    for (op, foreseen) in [
        (push(chain(2, 1, "stale"), None), Foresight::Answer(ahead.clone())),
        (push(chain(0, 3, "warm"), None), Foresight::Answer(again)),
        (push(chain(7, 1, "a"), None), Foresight::AfterALook(gap)),
        (push(follows.clone(), Some(incarnation(2))), Foresight::AfterALook(mismatch)),
    ] {
        assert_eq!(rig.core.foresee(&op), foreseen);
        assert!(rig.upstream.requests.is_empty());
        let (Foresight::Answer(answer) | Foresight::AfterALook(answer)) = foreseen else {
            unreachable!()
        };
        assert_eq!(rig.call(op), answer);
        rig.upstream.requests.clear();
    }
    let op = push(follows.clone(), Some(incarnation(1)));
    assert_eq!(rig.core.foresee(&op), Foresight::Open);
    // An append in flight makes no difference, but a full queue does.
    rig.begin_push(follows.clone());
    assert_eq!(rig.core.foresee(&push(chain(2, 1, "stale"), None)), Foresight::Answer(ahead));
    for _ in 1..LIMITS.queue {
        assert_eq!(rig.core.foresee(&op), Foresight::Open);
        rig.begin_push(follows.clone());
    }
    assert_eq!(rig.core.foresee(&op), Foresight::Answer(Answer::Overloaded));
    assert_eq!(
        rig.core.foresee(&push(chain(3, 99, &"x".repeat(100)), None)),
        Foresight::Answer(Answer::Overloaded)
    );
}

/// A refusal that an old tip proves is the Sequencer's own refusal, now and later.
#[test]
fn a_push_that_an_old_tip_proves_stale_is_refused_by_the_sequencer_too() {
    let mut refusals = 0;
    for (known, later) in [(0, 0), (1, 0), (3, 0), (3, 2), (4, 5)] {
        let mut rig = Rig::warm(known);
        let Answer::Tip(Some(tip)) = rig.call(Op::Look(Need::Known)) else { panic!() };
        for i in 0..later {
            rig.push(chain(known + i, 1, "later"));
        }
        let id = Some(tip.backend_id.clone());
        for (parent, count, text) in combinations(0..8, 1..5, ["warm", "later", "other"]) {
            let events = chain(parent, count, text);
            let batch = checked(&events);
            assert_eq!(reject_if_stale(&tip, &batch, None), None, "without a backend id");
            assert_eq!(
                reject_if_stale(&tip, &batch, Some(&incarnation(9))),
                None,
                "of another backend"
            );
            let Some(early) = reject_if_stale(&tip, &batch, id.as_ref()) else { continue };
            refusals += 1;
            let call = rig.begin(Op::Push { batch, backend_id: id.clone() }, events);
            rig.settle();
            match (early, rig.answer(call)) {
                (
                    Answer::ServerAhead { minimum_expected: early, provided },
                    Answer::ServerAhead { minimum_expected, provided: really },
                ) => assert!(early <= minimum_expected && provided == really),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(refusals > 50, "{refusals}");
}

/// All combinations of the three.
fn combinations(
    parents: std::ops::Range<SeqNum>,
    counts: std::ops::Range<u64>,
    texts: [&'static str; 3],
) -> Vec<(SeqNum, u64, &'static str)> {
    let of = |parent| counts.clone().flat_map(move |count| texts.map(|text| (parent, count, text)));
    parents.flat_map(of).collect()
}

#[test]
fn a_batch_that_is_pushed_again_is_accepted_again_and_not_appended() {
    let mut rig = Rig::warm(3);
    rig.push(chain(3, 2, "a"));
    let again = rig.push(chain(3, 2, "a"));
    assert!(matches!(again, Answer::AcceptedAgain(_)), "{again:?}");
    assert_eq!(head(&again), 5);
    assert_eq!(rig.upstream.requests, ["POST"]);
    assert!(
        matches!(rig.push(chain(3, 2, "other")), Answer::ServerAhead { .. }),
        "other events with the same numbers"
    );
}

#[test]
fn a_batch_that_is_pushed_again_while_in_flight_is_appended_once() {
    let mut rig = Rig::warm(0);
    let calls = [rig.begin_push(chain(0, 1, "a")), rig.begin_push(chain(0, 1, "a"))];
    rig.settle();
    assert!(matches!(
        calls.map(|call| rig.answer(call)),
        [Answer::Accepted(_), Answer::AcceptedAgain(_)]
    ));
    assert_eq!(rig.log().len(), 1);
}

#[test]
fn of_two_pushes_on_one_parent_the_first_is_accepted() {
    let mut rig = Rig::warm(0);
    let [first, second] = [rig.begin_push(chain(0, 1, "a")), rig.begin_push(chain(0, 1, "b"))];
    rig.settle();
    assert_eq!(head(&rig.answer(first)), 1);
    assert_eq!(rig.answer(second), Answer::ServerAhead { minimum_expected: 2, provided: 1 });
}

#[test]
fn a_push_above_the_head_is_a_gap_once_the_log_confirms_it() {
    let mut rig = Rig::warm(3);
    assert_eq!(rig.push(chain(7, 1, "a")), Answer::Gap { head: 3, parent: 7 });
    assert_eq!(rig.upstream.requests, ["GET"]);
    // Another writer appends. Then the same push is no gap.
    rig.upstream.append(3, &chain(3, 4, "direct"));
    assert_eq!(head(&rig.push(chain(7, 1, "a"))), 8);
}

#[test]
fn a_push_for_another_backend_is_refused_once_the_log_confirms_it() {
    let mut rig = Rig::warm(3);
    let push = |id| Op::Push { batch: checked(&chain(1, 1, "stale")), backend_id: Some(id) };
    let mismatch = |expected, received| Answer::BackendIdMismatch { expected, received };
    assert_eq!(rig.call(push(incarnation(2))), mismatch(incarnation(1), incarnation(2)));
    assert_eq!(rig.upstream.requests, ["GET"]);
    // An administrator adopts the other log. Then the first client means the wrong backend.
    rig.upstream.recreate(chain(0, 2, "new"));
    assert_eq!(head(&rig.call(Op::Adopt)), 2);
    assert!(matches!(rig.call(push(incarnation(2))), Answer::ServerAhead { .. }));
    assert_eq!(rig.call(push(incarnation(1))), mismatch(incarnation(2), incarnation(1)));
}

#[test]
fn a_lost_acknowledgement_is_found_in_the_log() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 2, "a"));
    rig.step(Some(UpstreamResult::Failed)); // the batch landed, but the answer is lost
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 5);
    assert_eq!(rig.upstream.requests, ["POST", "GET"], "the log is not read before another append");
    assert_eq!(rig.log().len(), 5);
}

#[test]
fn a_batch_with_an_unknown_outcome_is_found_in_the_whole_log_behind_other_events() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 2, "a"));
    rig.step(Some(UpstreamResult::Failed)); // the batch landed, but the answer is lost
    rig.upstream.append(5, &chain(5, 1, "direct"));
    rig.step(Some(UpstreamResult::Gone)); // a foreign answer
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 6);
    assert_eq!(rig.upstream.requests, ["POST", "GET", "CHECK", "GET"]);
}

#[test]
fn a_lost_append_is_repeated_after_a_look() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 2, "a"));
    rig.lose_request();
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 5);
    assert_eq!(rig.upstream.requests, ["GET", "POST"]);
}

#[test]
fn an_append_that_lands_late_is_found_when_the_fence_refuses_its_repetition() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.lose_request();
    rig.step(None); // the look finds nothing
    rig.upstream.append(3, &chain(3, 1, "a")); // the first append lands
    rig.settle(); // the second append meets the fence, and the next look finds the first
    assert_eq!(head(&rig.answer(push)), 4);
    assert_eq!(rig.log().len(), 4);
}

#[test]
fn events_of_another_writer_are_found_and_make_a_push_stale() {
    let mut rig = Rig::warm(3);
    rig.upstream.append(3, &chain(3, 2, "direct"));
    assert_eq!(
        rig.push(chain(3, 1, "a")),
        Answer::ServerAhead { minimum_expected: 6, provided: 4 }
    );
    assert_eq!(rig.upstream.requests, ["POST", "GET"]);
    assert_eq!(head(&rig.push(chain(5, 1, "a"))), 6);
}

#[test]
fn all_calls_that_wait_are_answered_when_the_upstream_stays_away() {
    let mut rig = Rig::warm(3);
    let calls = [
        rig.begin_push(chain(3, 1, "a")),
        rig.begin_push(chain(3, 1, "b")),
        rig.begin(Op::Look(Need::Fresh), vec![]),
    ];
    for _ in 0..3 {
        rig.lose_request();
    }
    assert!(calls.iter().all(|call| rig.answer(*call) == Answer::Unavailable));
    assert_eq!(rig.open, None);
    assert_eq!(
        head(&rig.push(chain(3, 1, "a"))),
        4,
        "the store does not go on when the upstream is back"
    );
}

#[test]
fn a_conflict_that_no_event_explains_ends_as_unavailable() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    while let Some(request) = &rig.open {
        // Every append conflicts, and no look ever finds a new event.
        let appends = matches!(request, Request::Append { .. });
        if appends {
            rig.open = None;
            rig.handle(Input::Upstream(UpstreamResult::Conflict));
        } else {
            rig.step(None);
        }
    }
    assert_eq!(rig.answer(push), Answer::Unavailable, "the batch may have landed");
}

#[test]
fn calls_beyond_the_bounds_of_number_and_bytes_are_overloaded() {
    let mut rig = Rig::warm(0);
    let calls: Vec<usize> = (0..6).map(|i| rig.begin_push(chain(0, 1, &i.to_string()))).collect();
    let overloaded = |rig: &Rig, from: usize| {
        calls[from..].iter().filter(|c| rig.answers[**c] == Some(Answer::Overloaded)).count()
    };
    assert_eq!(overloaded(&rig, 0), 2);
    rig.settle();
    assert_eq!(overloaded(&rig, 0), 2, "a call that had a place is overloaded");
    assert_eq!(rig.push(chain(1, 100, &"x".repeat(100))), Answer::Overloaded);
    let looks: Vec<usize> = (0..7).map(|_| rig.begin(Op::Look(Need::Fresh), vec![])).collect();
    let refused =
        looks.iter().filter(|look| rig.answers[**look] == Some(Answer::Overloaded)).count();
    assert_eq!(refused, 2, "looks have no bound");
    let push = rig.begin_push(chain(1, 1, "a"));
    rig.settle();
    assert!(matches!(rig.answer(push), Answer::Accepted(_)), "looks keep a push out");
}

#[test]
fn after_a_restart_one_look_verifies_the_tip() {
    let mut rig = Rig::warm(3);
    rig.restart();
    assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3);
    assert!(rig.upstream.requests.is_empty(), "a look for the known tip costs a request");
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4);
    assert_eq!(head(&rig.push(chain(4, 1, "b"))), 5);
    assert_eq!(rig.upstream.requests, ["GET", "POST", "POST"]);
}

#[test]
fn a_crash_between_append_and_record_neither_loses_nor_doubles_an_event() {
    let mut rig = Rig::warm(3);
    rig.begin_push(chain(3, 2, "a"));
    let before = rig.stored.clone();
    rig.step(None);
    rig.stored = before; // the row never became durable
    rig.restart();
    assert_eq!(head(&rig.push(chain(3, 2, "a"))), 5, "the batch is not recognized");
    assert_eq!(rig.log().len(), 5);
}

#[test]
fn lost_rows_are_read_back_from_the_log() {
    let mut rig = Rig::warm(3);
    rig.stored = None;
    rig.restart();
    let Answer::Tip(Some(tip)) = rig.call(Op::Look(Need::Known)) else { panic!("no tip") };
    assert_eq!((tip.head, tip.events, tip.backend_id.0.as_str()), (3, 3, "life-1"));
    assert_eq!(rig.stored_tip(), Some(&tip));
}

#[test]
fn a_stream_without_a_header_has_the_implicit_id() {
    let mut rig = rig();
    rig.upstream.log = Some(chain(0, 2, "foreign"));
    let Answer::Tip(Some(tip)) = rig.call(Op::Look(Need::Known)) else { panic!("no tip") };
    assert_eq!((tip.head, tip.backend_id), (2, implicit()));
}

#[test]
fn a_sequencer_that_loses_the_race_to_create_uses_the_stream_that_exists() {
    let mut rig = rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    rig.step(None); // there is no stream
    rig.upstream.perform(&Request::Create, &[], 0);
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 1);
    assert_eq!(rig.upstream.incarnations, 1);
}

fn missing(acknowledged: SeqNum) -> Answer {
    Answer::Halted(Halt::Missing(acknowledged), Some(incarnation(1)))
}

fn replaced(found: u32) -> Answer {
    Answer::Halted(Halt::Replaced(incarnation(found)), Some(incarnation(1)))
}

#[test]
fn a_missing_stream_halts_the_store_until_it_is_back() {
    for restarts in [false, true] {
        let mut rig = Rig::warm(3);
        let (log, row) = (rig.upstream.log.take(), rig.stored.clone());
        if restarts {
            rig.restart();
        }
        assert_eq!(rig.push(chain(3, 1, "a")), missing(3));
        assert_eq!(rig.push(chain(0, 1, "new")), missing(3), "a new log is begun");
        assert_eq!(rig.call(Op::Ensure), missing(3), "a live read begins a new log");
        assert_eq!(rig.call(Op::Look(Need::Fresh)), missing(3));
        assert_eq!(rig.call(Op::Adopt), missing(3), "an adoption ends the halt");
        assert!(rig.upstream.log.is_none());
        assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3, "the known tip is lost");
        assert_eq!(rig.stored, row, "the row is lost");
        rig.upstream.log = log;
        assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store does not go on by itself");
        assert_eq!(rig.core.halted(), None);
    }
}

#[test]
fn one_foreign_404_or_410_costs_neither_the_rows_nor_a_halt() {
    for stray in [UpstreamResult::Missing, UpstreamResult::Gone] {
        let mut rig = Rig::warm(3);
        let row = rig.stored.clone();
        let push = rig.begin_push(chain(3, 1, "a"));
        rig.open = None;
        rig.handle(Input::Upstream(stray));
        assert_eq!(rig.stored, row);
        rig.settle();
        assert_eq!(head(&rig.answer(push)), 4);
        assert_eq!(rig.recorded, 1, "the log was read from the start");
    }
}

#[test]
fn another_incarnation_of_any_length_halts_the_store() {
    for events in [0, 2, 3, 5] {
        for restarts in [false, true] {
            let mut rig = Rig::warm(3);
            let row = rig.stored.clone();
            let log = rig.upstream.log.clone();
            rig.upstream.recreate(chain(0, events, "new"));
            if restarts {
                rig.restart();
            }
            assert_eq!(rig.call(Op::Look(Need::Fresh)), replaced(2));
            assert_eq!(rig.push(chain(3, 1, "a")), replaced(2));
            assert_eq!(rig.stored, row, "the row is lost");
            rig.upstream.log = log;
            assert_eq!(
                head(&rig.push(chain(3, 1, "a"))),
                4,
                "the store does not go on with its own log"
            );
        }
    }
}

#[test]
fn an_adopted_incarnation_replaces_the_old_one() {
    for events in [0, 2, 3, 5] {
        let mut rig = Rig::warm(3);
        rig.upstream.recreate(chain(0, events, "new"));
        assert_eq!(rig.push(chain(3, 1, "a")), replaced(2));
        let adopted = tip(rig.call(Op::Adopt));
        assert_eq!((adopted.head, &adopted.backend_id), (events, &incarnation(2)));
        assert_eq!(rig.stored_tip(), Some(&adopted));
        assert_eq!(head(&rig.push(chain(events, 1, "a"))), events + 1);
    }
}

#[test]
fn a_log_that_can_not_be_adopted_is_refused_by_name() {
    let mut rig = rig();
    assert_eq!(rig.call(Op::Adopt), Answer::Tip(None), "there is no log");
    let mut rig = Rig::warm(3);
    rig.upstream.recreate(vec![event(9, 7, "foreign")]);
    assert!(
        matches!(rig.call(Op::Adopt), Answer::Halted(Halt::Broken(_), _)),
        "the log is not a chain"
    );
    // Devices know this id, and would not notice that the log lost events.
    let mut rig = Rig::warm(3);
    rig.upstream.log.as_mut().unwrap().truncate(3);
    let lost =
        Answer::Halted(Halt::WentBackwards { acknowledged: 3, found: 2 }, Some(incarnation(1)));
    assert_eq!(rig.call(Op::Adopt), lost, "the log lost events and kept its id");
    // The adoption of an unchanged log keeps the row.
    let mut rig = Rig::warm(3);
    let row = rig.stored.clone();
    assert_eq!(head(&rig.call(Op::Adopt)), 3);
    assert_eq!(rig.stored, row);
}

#[test]
fn a_log_with_the_same_id_and_other_events_halts_the_store() {
    for length in [3, 5] {
        let mut rig = Rig::warm(2);
        rig.push(chain(2, 1, "a"));
        let header = rig.upstream.log.as_ref().unwrap()[0].clone();
        rig.upstream.log = Some([vec![header], chain(0, length, "warm")].concat());
        rig.restart();
        let altered = Answer::Halted(Halt::Altered(3), Some(incarnation(1)));
        assert_eq!(rig.push(chain(3, 1, "b")), altered);
    }
}

#[test]
fn a_log_that_was_moved_with_its_id_goes_on_with_other_offsets() {
    let mut rig = Rig::warm(2);
    rig.push(chain(2, 1, "a"));
    rig.restart();
    let push = rig.begin_push(chain(3, 1, "b"));
    rig.step(Some(UpstreamResult::Refused(Refusal { status: 400, retry_after: None }))); // the offset has another server's form
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 4);
}

#[test]
fn a_trimmed_log_halts_the_store() {
    let mut rig = rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    rig.step(Some(UpstreamResult::Gone));
    rig.settle();
    assert_eq!(rig.answer(push), Answer::Halted(Halt::Trimmed, None));
}

#[test]
fn an_upstream_that_contradicts_itself_is_unavailable_after_a_few_requests() {
    // Every read is answered "missing", and every creation "exists".
    let mut rig = rig();
    rig.upstream.perform(&Request::Create, &[], 0);
    rig.upstream.requests.clear();
    for op in [Op::Ensure, Op::Push { batch: checked(&chain(0, 1, "a")), backend_id: None }] {
        rig.upstream.requests.clear();
        let call = rig.begin(op, chain(0, 1, "a"));
        while let Some(request) = rig.open.clone() {
            rig.step((request != Request::Create).then_some(UpstreamResult::Missing));
        }
        assert_eq!(rig.answer(call), Answer::Unavailable);
        assert!(rig.upstream.requests.len() <= 6, "{:?}", rig.upstream.requests);
    }
}

#[test]
fn a_reset_is_done_only_after_a_new_stream_was_created() {
    let mut rig = Rig::warm(3);
    let row = rig.stored.clone();
    let reset = rig.begin(Op::Reset, vec![]);
    while let Some(request) = rig.open.clone() {
        match request {
            Request::Delete => {
                // A stranger answers, and the server never receives the request.
                rig.open = None;
                rig.handle(Input::Upstream(UpstreamResult::Missing));
            }
            _ => rig.step(None),
        }
    }
    assert_eq!(rig.answer(reset), Answer::Unavailable);
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store has changed");
    assert_eq!(rig.log().len(), 4);
    assert_ne!(rig.stored, row);
    rig.upstream.log = None;
    assert_eq!(rig.push(chain(4, 1, "a")), missing(4), "the intent to delete is still there");
}

#[test]
fn a_loss_after_a_refused_reset_halts_the_store() {
    let mut rig = Rig::warm(3);
    let reset = rig.begin(Op::Reset, vec![]);
    let refusal = Refusal { status: 403, retry_after: None };
    while let Some(request) = rig.open.clone() {
        match request {
            Request::Delete => {
                rig.open = None;
                rig.handle(Input::Upstream(UpstreamResult::Refused(refusal)));
            }
            _ => rig.step(None),
        }
    }
    assert_eq!(rig.answer(reset), Answer::Refused(refusal));
    assert!(
        rig.stored.as_ref().is_some_and(|stored| !stored.deleting),
        "the stored intent to delete is still there"
    );
    rig.upstream.log = None;
    assert_eq!(rig.push(chain(3, 1, "a")), missing(3));
    assert_eq!(rig.upstream.incarnations, 1);
}

#[test]
fn a_reset_that_a_crash_cut_short_is_finished_without_another_deletion() {
    // The stream was deleted, but not created again: the next push creates it.
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.step(None);
    rig.restart();
    assert_eq!(tip(rig.push(chain(0, 1, "new"))).backend_id, incarnation(2));
    // A new stream was created, and a direct writer has appended to it.
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.step(None);
    rig.upstream.recreate(chain(0, 2, "direct"));
    rig.restart();
    assert_eq!(tip(rig.push(chain(2, 1, "a"))).backend_id, incarnation(2));
    assert_eq!(rig.log(), [chain(0, 2, "direct"), chain(2, 1, "a")].concat());
    // The stream was not deleted.
    let mut rig = Rig::warm(3);
    rig.begin(Op::Reset, vec![]);
    rig.restart();
    assert_eq!(tip(rig.push(chain(3, 1, "a"))).backend_id, incarnation(1));
    // The deletion lands late. The Sequencer keeps the events that it acknowledged meanwhile.
    rig.upstream.log = None;
    assert_eq!(rig.push(chain(4, 1, "a")), missing(4));
}

#[test]
fn one_look_at_a_halted_store_serves_all_calls_and_the_pauses_grow() {
    let mut rig = Rig::warm(3);
    rig.upstream.log = None;
    rig.push(chain(3, 1, "a"));
    let mut pauses = Vec::new();
    for _ in 0..7 {
        rig.upstream.requests.clear();
        let calls = [
            rig.begin_push(chain(3, 1, "a")),
            rig.begin_push(chain(3, 1, "b")),
            rig.begin(Op::Ensure, vec![]),
        ];
        pauses.push(rig.pause);
        rig.step(None);
        // The calls that came while the look was under way have a look of their own.
        rig.settle();
        assert!(rig.upstream.requests.len() <= 2, "{:?}", rig.upstream.requests);
        assert_eq!(calls.map(|call| rig.answer(call)), [missing(3), missing(3), missing(3)]);
    }
    assert!(pauses.is_sorted() && pauses.last() == Some(&5), "{pauses:?}");
}

#[test]
fn only_the_call_that_creates_the_stream_hears_so() {
    let created = |rig: &Rig, call| tip(rig.answer(call)).created;
    let mut rig = rig();
    let calls = [(); 3].map(|()| rig.begin(Op::Ensure, vec![]));
    rig.settle();
    assert_eq!(calls.map(|call| created(&rig, call)), [true, false, false]);
    assert!(!tip(rig.call(Op::Ensure)).created);
    assert!(!rig.core.tip().expect("a tip").created, "the tip itself keeps nothing of it");
    // A push that needs the stream creates it for itself.
    let mut rig = self::rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    let ensure = rig.begin(Op::Ensure, vec![]);
    rig.settle();
    assert_eq!(tip(rig.answer(push)).head, 1);
    assert!(!created(&rig, ensure));
}

#[test]
fn looks_are_answered_together_and_delay_no_push_by_more_than_one_request() {
    let mut rig = Rig::warm(3);
    let looks = [(); 4].map(|()| rig.begin(Op::Look(Need::Fresh), vec![]));
    let push = rig.begin_push(chain(3, 1, "a"));
    let stale = rig.begin_push(chain(1, 1, "stale"));
    assert_eq!(
        rig.answer(stale),
        Answer::ServerAhead { minimum_expected: 4, provided: 2 },
        "the refusal waits"
    );
    rig.step(None); // the look that is open
    assert_eq!(rig.upstream.requests, ["GET"]);
    rig.step(None);
    assert_eq!(head(&rig.answer(push)), 4);
    assert_eq!(rig.upstream.requests, ["GET", "POST"]);
    // The first look had its own request. The append answered the looks that came meanwhile.
    assert_eq!(looks.map(|look| head(&rig.answer(look))), [3, 4, 4, 4]);
    assert_eq!(rig.open, None);
}

#[test]
fn an_append_without_confirmation_is_looked_for_in_the_log() {
    let mut rig = Rig::warm(3);
    // The server has seen this sequence already. It answers 204, "duplicate", and appends nothing.
    rig.upstream.admission.producer = Some((rig.epoch, 7));
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4);
    assert_eq!(rig.upstream.requests, ["POST", "GET", "POST"]);
    assert_eq!(rig.log().len(), 4);
}

#[test]
fn an_append_that_lands_before_the_known_tail_is_not_acknowledged() {
    let mut rig = Rig::warm(5);
    rig.upstream.log.as_mut().unwrap().truncate(2); // an operator restores an older state
    let answer = rig.push(chain(5, 1, "a"));
    assert!(matches!(answer, Answer::Halted(Halt::Broken(_), _)), "{answer:?}");
}

#[test]
fn the_producer_sequence_counts_appends_since_the_last_look() {
    let mut rig = Rig::warm(3); // with the append that follows the creation
    let producer_seq = |rig: &mut Rig, parent| {
        rig.begin_push(chain(parent, 1, "a"));
        let Some(Request::Append { producer_seq, .. }) = rig.open else { panic!("{:?}", rig.open) };
        producer_seq
    };
    assert_eq!(producer_seq(&mut rig, 3), 1);
    rig.settle();
    assert_eq!(producer_seq(&mut rig, 4), 2);
    rig.step(Some(UpstreamResult::Failed)); // an unknown outcome
    rig.settle();
    assert_eq!(producer_seq(&mut rig, 5), 0);
}

#[test]
fn a_log_that_can_not_be_read_from_an_offset_is_read_from_the_start() {
    for odd in [
        UpstreamResult::Unreadable,
        UpstreamResult::Refused(Refusal { status: 400, retry_after: None }),
    ] {
        let mut rig = Rig::warm(3);
        rig.upstream.append(3, &chain(3, 1, "direct"));
        let push = rig.begin_push(chain(4, 1, "a"));
        rig.step(Some(odd)); // the result of the look from the last known offset
        rig.settle();
        assert_eq!(head(&rig.answer(push)), 5);
    }
}

#[test]
fn a_stream_that_is_not_json_halts_the_store() {
    let mut rig = rig();
    let push = rig.begin_push(chain(0, 1, "a"));
    while rig.open.take().is_some() {
        rig.handle(Input::Upstream(UpstreamResult::Unreadable));
    }
    assert!(matches!(rig.answer(push), Answer::Halted(Halt::Broken(_), None)));
}

#[test]
fn a_closed_stream_halts_the_store() {
    let mut rig = Rig::warm(3);
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.open = None;
    rig.handle(Input::Upstream(UpstreamResult::Closed));
    while let Some(request) = rig.open.clone() {
        let appends = matches!(request, Request::Append { .. });
        rig.step(appends.then_some(UpstreamResult::Closed));
    }
    assert_eq!(rig.answer(push), Answer::Halted(Halt::Closed, Some(incarnation(1))));
}

#[test]
fn a_stream_that_is_being_created_is_not_taken_for_one_without_a_header() {
    let mut rig = rig();
    rig.upstream.perform(&Request::Create, &[], 0);
    let header = rig.upstream.log.replace(Vec::new());
    let look = rig.begin(Op::Look(Need::Known), vec![]);
    rig.step(None); // the stream is there, but empty
    rig.upstream.log = header;
    rig.settle();
    let Answer::Tip(Some(tip)) = rig.answer(look) else { panic!("no tip") };
    assert_eq!(tip.backend_id, incarnation(1));
}

#[test]
fn a_log_that_went_backwards_halts_the_store_until_it_is_restored() {
    let mut rig = Rig::warm(3);
    let lost = rig.upstream.log.as_mut().unwrap().pop().unwrap();
    rig.restart();
    let halted =
        Answer::Halted(Halt::WentBackwards { acknowledged: 3, found: 2 }, Some(incarnation(1)));
    assert_eq!(rig.push(chain(3, 1, "a")), halted);
    assert_eq!(rig.push(chain(2, 1, "b")), halted, "a push that fits the shorter log is accepted");
    assert_eq!(rig.log().len(), 2);
    assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3, "the known tip is lost");
    assert_eq!(rig.core.halted(), Some(halted), "the core does not report the halt");
    rig.upstream.log.as_mut().unwrap().push(lost);
    assert_eq!(head(&rig.push(chain(3, 1, "a"))), 4, "the store does not go on by itself");
    assert_eq!(rig.core.halted(), None);
}

#[test]
fn a_tail_below_the_known_one_alone_does_not_halt_the_store() {
    let mut rig = Rig::warm(3);
    rig.restart();
    let push = rig.begin_push(chain(3, 1, "a"));
    rig.step(Some(UpstreamResult::Checked(Some(incarnation(1)), Offset("00000002".into()))));
    rig.settle();
    assert_eq!(head(&rig.answer(push)), 4);
}

#[test]
fn a_log_that_is_not_a_chain_halts_the_store_until_it_is_reset() {
    let mut rig = Rig::warm(3);
    rig.upstream.log.as_mut().unwrap().push(event(9, 7, "foreign"));
    rig.restart();
    let Answer::Halted(Halt::Broken(place), _) = rig.push(chain(3, 1, "a")) else {
        panic!("not halted")
    };
    assert_eq!(place, "event 9 has the parent 7, but follows event 3");
    assert_eq!(head(&rig.call(Op::Reset)), 0);
    assert_eq!(head(&rig.push(chain(0, 1, "a"))), 1);
}

#[test]
fn a_reset_begins_a_new_incarnation() {
    let mut rig = Rig::warm(3);
    let Answer::Tip(Some(tip)) = rig.call(Op::Reset) else { panic!("no tip") };
    assert_eq!((tip.head, tip.backend_id.0.as_str()), (0, "life-2"));
    assert_eq!(rig.upstream.requests, ["DELETE", "PUT"]);
}

#[test]
fn a_look_at_a_store_without_a_stream_creates_none() {
    let mut rig = rig();
    assert_eq!(rig.call(Op::Look(Need::Fresh)), Answer::Tip(None));
    assert_eq!(rig.call(Op::Look(Need::Known)), Answer::Tip(None));
    assert!(rig.upstream.log.is_none());
    assert_eq!(head(&rig.call(Op::Ensure)), 0);
    assert!(rig.upstream.log.is_some());
}

fn tip(answer: Answer) -> Tip {
    match answer {
        Answer::Accepted(tip) | Answer::AcceptedAgain(tip) | Answer::Tip(Some(tip)) => tip,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_is_sealed_by_the_append_that_makes_it_long_enough() {
    let mut rig = Rig::warm(0);
    let start = tip(rig.call(Op::Look(Need::Known)));
    assert_eq!((start.sealed.offset.0.as_str(), start.seals()), ("-1", false));
    let sealed = |rig: &mut Rig, parent, count, id: &str| {
        let tip = tip(rig.push(chain(parent, count, id)));
        (tip.seals(), tip.sealed.events)
    };
    assert_eq!(sealed(&mut rig, 0, 3, "a"), (false, 0));
    assert_eq!(
        sealed(&mut rig, 3, 3, "b"),
        (true, 6),
        "a segment with enough events is not sealed"
    );
    assert_eq!(sealed(&mut rig, 6, 1, "c"), (false, 6));
    assert_eq!(
        sealed(&mut rig, 7, 1, &"x".repeat(1_000)),
        (true, 8),
        "a segment with enough bytes is not sealed"
    );
    assert_eq!(sealed(&mut rig, 8, 1, "d"), (false, 8));
    let before = tip(rig.call(Op::Look(Need::Known)));
    rig.restart();
    assert_eq!(tip(rig.call(Op::Look(Need::Known))), before);
    assert_eq!(rig.recorded, 5, "a push costs more than one row");
}

#[test]
fn a_rebuilt_index_has_another_id() {
    let mut rig = Rig::warm(3);
    let before = tip(rig.push(chain(3, 1, "a")));
    rig.stored = None;
    rig.restart();
    let adopted = tip(rig.push(chain(4, 1, "b")));
    assert_eq!(adopted.backend_id, before.backend_id);
    assert_ne!(adopted.sealed.index, before.sealed.index);
    assert_eq!(adopted.sealed.events, 5, "the events are not counted from the start");
}

#[test]
fn a_look_that_must_reach_an_offset_asks_the_upstream_only_if_the_tip_is_below_it() {
    let mut rig = Rig::warm(3);
    let tail = tip(rig.call(Op::Look(Need::Known))).offset;
    assert_eq!(head(&rig.call(Op::Look(Need::Reaching(tail.clone())))), 3);
    assert!(rig.upstream.requests.is_empty());
    // A direct writer appends.
    rig.upstream.append(3, &chain(3, 2, "direct"));
    assert_eq!(head(&rig.call(Op::Look(Need::Known))), 3);
    let beyond = Offset(format!("{}x", tail.0));
    let caught_up = tip(rig.call(Op::Look(Need::Reaching(beyond))));
    assert_eq!((caught_up.head, caught_up.events, caught_up.seals()), (5, 5, true));
    assert_eq!(rig.upstream.requests, ["GET"]);
    assert_eq!(rig.stored_tip(), Some(&caught_up));
}
