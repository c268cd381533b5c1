//! The actor: hands calls and upstream results to the core, and carries out its effects. It decides nothing itself.

mod moving;
mod upkeep;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use headwater_core::batch::Batch;
use headwater_core::budget::BudgetLimits;
use headwater_core::event::{BackendId, Offset, Position, ROOT, SeqNum};
use headwater_core::log::{LogAddress, LogPlace};
use headwater_core::problem::Problem;
use headwater_core::push_stats::PushStats;
use headwater_core::sequencer::call::{
    Incarnation, Inspection, LEASE_HEADER, Located, ReadStart, Shown,
};
use headwater_core::sequencer::{
    self, Answer, Core, Effect, Foresight, Input, Need, News, Op, SequencerLimits, Ticket,
    UpstreamResult,
};
use headwater_core::socket::Bye;
use serde_json::value::to_raw_value;
use worker::{Delay, Env, Error, Request, Response, Result, State, console_error};

use self::moving::Mover;
pub(super) use self::upkeep::sweep;
use super::sockets::{Socket, Sockets};
use super::storage::Rows;
use crate::isolate::now_ms;
use crate::lease::{BATCHES, Lease};
use crate::log::{Log, LogBucket, Shard};
use crate::settings::{self, DeploymentVars, UpstreamSettings};

/// A core, and everything that it needs to act.
pub(super) struct Actor {
    state: Rc<State>,
    core: RefCell<Core>,
    rows: RefCell<Rows>,
    /// Whether a flush of the rows is due.
    is_flush_due: Cell<bool>,
    sockets: Rc<Sockets>,
    /// Whether the actor watches the log for direct writers.
    is_watching: Cell<bool>,
    /// The push that was accepted last, until the sockets are told.
    landed: RefCell<Option<(Ticket, Held)>>,
    log: Log,
    /// Where the older parts of a built-in log are.
    bucket: Rc<LogBucket>,
    /// The shard of the upstream that the log is on, or would move to; `None` without an upstream.
    shard: Option<Rc<Shard>>,
    mover: Mover,
    upstream: UpstreamSettings,
    limits: SequencerLimits,
    /// The store's encoded path.
    path: String,
    /// How long the lease of a batch lasts between two answers of the upstream.
    lease_duration: Duration,
    /// How much the isolate may hold of pushes.
    in_flight: BudgetLimits,
    /// The calls that wait for an answer.
    waiting: RefCell<HashMap<Ticket, Waiting>>,
    next_ticket: Cell<u64>,
    /// The request that the core wants sent, until the upstream loop takes it, and the failures just before it.
    outgoing: RefCell<Option<(sequencer::Request, u8)>>,
    /// When a read last began a look because the upstream has another log, in milliseconds since 1970.
    doubted_ms: Cell<u64>,
    /// The storage failed. The next call opens a new actor.
    abandoned: Cell<bool>,
    /// For the inspector. `None` if the deployment has none.
    push_stats: Option<RefCell<PushStats>>,
}

struct Waiting {
    to_caller: oneshot::Sender<Answer>,
    /// Whether the call changes something.
    changes: bool,
    /// Set for a push.
    held: Option<Held>,
    /// A push that is counted: its batch, and when it began to wait.
    counted: Option<(Batch, u64)>,
}

/// The batch of a push, and where it came from.
pub(super) struct Held {
    pub(super) body: Rc<Vec<u8>>,
    /// The lease on the batch's memory.
    pub(super) lease: Lease,
    /// The socket that brought the push, and the client's number of it. The socket receives the answer first.
    pub(super) socket: Option<(Rc<Socket>, u64)>,
}

/// How often reads begin a look at another log in the place of the store's.
const DOUBT_PAUSE_MS: u64 = 10_000;

impl Actor {
    pub(super) fn open(
        state: Rc<State>,
        env: &Env,
        path: &str,
        sockets: Rc<Sockets>,
    ) -> Result<Self> {
        let vars = DeploymentVars(env);
        let settings = UpstreamSettings::read(&vars).map_err(as_error)?;
        let lease_duration = settings.sequencer_timeout();
        let bucket = Rc::new(LogBucket::of(&state, env));
        let mut rows = Rows::open(state.storage().sql())?;
        let recorded = rows.load()?;
        let (log, shard) =
            Log::open(&settings, path, state.storage(), bucket.clone(), recorded.is_some())?;
        if log.built_in().is_some() {
            rows.write_with_the_log();
        }
        let limits = settings::sequencer_limits(&vars).map_err(as_error)?;
        let core = Core::new(recorded, BackendId::implicit(path), limits);
        Ok(Self {
            state,
            core: RefCell::new(core),
            rows: RefCell::new(rows),
            is_flush_due: Cell::new(false),
            sockets,
            is_watching: Cell::new(false),
            landed: RefCell::default(),
            lease_duration,
            log,
            bucket,
            shard,
            mover: Mover::default(),
            upstream: settings,
            limits,
            path: path.into(),
            in_flight: settings::in_flight(limits),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
            outgoing: RefCell::default(),
            doubted_ms: Cell::default(),
            abandoned: Cell::new(false),
            push_stats: settings::inspector(&vars)
                .map_err(as_error)?
                .then(|| RefCell::new(PushStats::new(now_ms()))),
        })
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// Answers with the known tip at once. If `need` asks for more, a look begins, and a later call receives its result.
    pub(super) async fn look(self: Rc<Self>, need: Need) -> Result<Answer> {
        let answer = self.clone().call(Op::Look(Need::Known)).await?;
        if need != Need::Known {
            drop(self.begin(Op::Look(need), None));
        }
        Ok(answer)
    }

    /// Finds a position in the index. A row stays true as long as the incarnation lasts.
    pub(super) async fn locate(self: Rc<Self>, position: &Position) -> Result<Located> {
        let mut answer = self.clone().call(Op::Look(Need::Known)).await?;
        if let Position::After(seq) = position {
            if head_of(&answer).is_some_and(|head| head < *seq) {
                answer = self.clone().call(Op::Look(Need::Fresh)).await?;
            }
            match &answer {
                Answer::Tip(tip) if head_of(&answer).is_some_and(|head| head < *seq) => {
                    let backend_id = tip.as_ref().map(|tip| tip.backend_id.clone());
                    return Ok(Located::Beyond {
                        head: tip.as_ref().map_or(ROOT, |tip| tip.head),
                        backend_id,
                    });
                }
                Answer::Tip(_) => {}
                _ => return Ok(Located::Refused(answer)),
            }
        }
        let found =
            self.rows.borrow_mut().locate(position).inspect_err(|error| self.abandon(error))?;
        Ok(found
            .map_or(Located::Unknown, |(plan, incarnation)| Located::Found { plan, incarnation }))
    }

    /// What a reader must know before it reads. A look begins also if the upstream has other events than the
    /// store's: no reader can see that they have gone.
    pub(super) async fn read_start(
        self: Rc<Self>,
        need: Need,
        position: &Position,
    ) -> Result<ReadStart> {
        let answer = self.clone().look(need).await?;
        let located = self.clone().locate(position).await?;
        let halted = self.core.borrow().halted();
        let is_doubted = halted.as_ref().is_some_and(Answer::is_of_another_log);
        if is_doubted && now_ms() >= self.doubted_ms.get() + DOUBT_PAUSE_MS {
            self.doubted_ms.set(now_ms());
            drop(self.clone().begin(Op::Look(Need::Fresh), None));
        }
        let LogAddress { place, shard } = self.log.address();
        Ok(ReadStart { answer, located, halted, place: Some(place), shard })
    }

    /// The Sequencer's part of the inspector's view.
    pub(super) async fn inspect(self: Rc<Self>) -> Result<Inspection> {
        let answer = self.clone().call(Op::Look(Need::Known)).await?;
        let (segments, sealed) =
            self.rows.borrow_mut().segments().inspect_err(|error| self.abandon(error))?;
        let push_stats = self.push_stats.as_ref().map(RefCell::borrow);
        let halted = self.core.borrow().halted();
        let tip = match &answer {
            Answer::Tip(tip) => tip.as_ref(),
            _ => None,
        };
        let archived = tip.filter(|tip| tip.closed).map(|tip| Answer::Closed(tip.clone()));
        let problem = halted.as_ref().or(archived.as_ref()).unwrap_or(&answer).problem();
        let LogAddress { place, shard } = self.log.address();
        let shown = Shown {
            state: problem
                .as_ref()
                .map_or(if tip.is_some() { "ready" } else { "no-stream" }, |problem| problem.kind),
            detail: problem.map(|problem| problem.detail),
            tip,
            segments: &segments,
            sealed,
            sockets: self.sockets.len(),
            waiting: self.sockets.waiting(),
            pushes: push_stats.as_deref(),
            storage: self.log.built_in().map(|log| log.room()),
            shard: (place == LogPlace::Upstream).then_some(shard),
        };
        let shown = to_raw_value(&shown)?;
        Ok(Inspection {
            shown,
            begins: segments.into_iter().map(|segment| segment.from).collect(),
            incarnation: tip.map(Incarnation::of),
        })
    }

    /// Answers a push. Reads its batch only if nothing refuses the push before, and if the isolate has the memory.
    pub(super) async fn push(
        self: Rc<Self>,
        batch: Batch,
        backend_id: Option<BackendId>,
        request: &mut Request,
    ) -> Result<Answer> {
        let began_ms = now_ms();
        let op = Op::Push { batch, backend_id };
        let refused = |answer| {
            self.count(&batch, began_ms, &answer);
            Ok(answer)
        };
        if let Some(answer) = self.clone().foresee(&op).await? {
            return refused(answer);
        }
        let Some(lease) = self.lease(&batch, request.headers().get(LEASE_HEADER)?.as_deref())
        else {
            return refused(Answer::Overloaded);
        };
        let body = Rc::new(request.bytes().await?);
        self.push_held(op, Held { body, lease, socket: None }).await
    }

    /// Answers a push whose batch is here.
    pub(super) async fn push_held(self: Rc<Self>, op: Op, held: Held) -> Result<Answer> {
        interrupted(self.begin(op, Some(held)).await)
    }

    /// The tip for a socket that opens. Creates the stream if there is none, as every live read does.
    ///
    /// The tip must be verified. A stored one may lag behind what was acknowledged, and its reader would miss the rest.
    pub(super) async fn welcome(self: Rc<Self>) -> Result<Answer> {
        let verified = Need::Reaching(Offset(Offset::START.into()));
        match self.clone().call(Op::Look(verified)).await? {
            Answer::Tip(None) => self.call(Op::Ensure).await,
            answer => Ok(answer),
        }
    }

    /// The answer to a call whose batch need not be read.
    async fn foresee(self: Rc<Self>, op: &Op) -> Result<Option<Answer>> {
        let foresight = self.core.borrow().foresee(op);
        match foresight {
            Foresight::Answer(answer) => return Ok(Some(answer)),
            Foresight::Open => return Ok(None),
            Foresight::AfterALook(_) => {}
        }
        match self.clone().call(Op::Look(Need::Fresh)).await? {
            Answer::Tip(_) => {}
            no_tip => return Ok(Some(no_tip)),
        }
        let foresight = self.core.borrow().foresee(op);
        Ok(match foresight {
            Foresight::Answer(answer) | Foresight::AfterALook(answer) => Some(answer),
            Foresight::Open => None,
        })
    }

    /// The lease on a batch's memory. The Worker hands over its own, unless it runs in another isolate.
    pub(super) fn lease(&self, batch: &Batch, name: Option<&str>) -> Option<Lease> {
        let duration = self.lease_duration;
        name.and_then(|name| Lease::adopt(&BATCHES, name, duration))
            .or_else(|| Lease::take(&BATCHES, &self.path, batch.bytes, duration, self.in_flight))
    }

    pub(super) async fn call(self: Rc<Self>, op: Op) -> Result<Answer> {
        interrupted(self.begin(op, None).await)
    }

    /// Hands a call to the core. Its answer may come at once, or after upstream requests.
    fn begin(self: Rc<Self>, op: Op, held: Option<Held>) -> oneshot::Receiver<Answer> {
        let ticket = Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        let (to_caller, answer) = oneshot::channel();
        if self.abandoned.get() {
            // A push may have read its body meanwhile. It fails as the calls do that waited when the storage failed.
            return answer;
        }
        let counted = match &op {
            Op::Push { batch, .. } if self.push_stats.is_some() => Some((*batch, now_ms())),
            _ => None,
        };
        let changes = !matches!(op, Op::Look(_));
        self.waiting.borrow_mut().insert(ticket, Waiting { to_caller, changes, held, counted });
        if changes && self.mover.holds() {
            self.reply(ticket, Answer::Unavailable);
            return answer;
        }
        self.handle(Input::Call(ticket, op));
        if let Some((request, failures)) = self.outgoing.take() {
            // The loop belongs to the object. This caller may leave at any time.
            self.state.wait_until(self.clone().upstream_loop(request, failures));
        }
        answer
    }

    /// Sends requests to the upstream and hands the results to the core, until the core wants no more.
    async fn upstream_loop(self: Rc<Self>, mut request: sequencer::Request, mut failures: u8) {
        loop {
            if failures > 0 {
                Delay::from(Duration::from_millis(100 << failures)).await;
            }
            // A flush of the rows may fail meanwhile. The batches are gone then, and another actor owns the rows.
            if self.abandoned.get() {
                return;
            }
            let result = self.perform(request).await;
            if self.abandoned.get() {
                return;
            }
            let has_appended = matches!(result, UpstreamResult::Appended(_));
            let is_full =
                matches!(&result, UpstreamResult::Refused(refusal) if refusal.status == 507);
            #[cfg(feature = "failpoints")]
            if has_appended {
                crate::failpoints::at("appended");
            }
            self.renew_leases();
            self.handle(Input::Upstream(result));
            if has_appended {
                self.merge_sealed();
            } else if is_full {
                self.shelve();
            }
            self.flush_soon();
            self.watch();
            let Some(next) = self.outgoing.take() else { return };
            (request, failures) = next;
        }
    }

    async fn perform(&self, request: sequencer::Request) -> UpstreamResult {
        let batch = match &request {
            sequencer::Request::Append { ticket, .. } => self.batch(*ticket),
            _ => None,
        };
        if request == sequencer::Request::Delete
            && let Err(result) = self.delete_leftovers().await
        {
            return result;
        }
        let is_deletion = request == sequencer::Request::Delete;
        let result = self.log.perform(request, batch.as_ref().map(|batch| batch.as_slice())).await;
        if is_deletion && result == UpstreamResult::Deleted {
            self.sweep_bucket();
        }
        result
    }

    /// Answers a read of the built-in log.
    pub(super) async fn serve_log(self: Rc<Self>, request: &Request) -> Result<Response> {
        match self.log.built_in() {
            Some(log) => log.clone().serve(request).await,
            // It has moved there.
            None => Ok(Response::empty()?.with_status(404)),
        }
    }

    fn batch(&self, ticket: Ticket) -> Option<Rc<Vec<u8>>> {
        let waiting = self.waiting.borrow();
        waiting.get(&ticket)?.held.as_ref().map(|held| held.body.clone())
    }

    /// Hands one input to the core, and carries out its effects in order. The borrow of the core ends before the first
    /// effect.
    fn handle(&self, input: Input) {
        let effects = self.core.borrow_mut().handle(input);
        let is_deleted =
            effects.iter().any(|effect| matches!(effect, Effect::Answer(_, Answer::Deleted)));
        for effect in effects {
            if let Err(error) = self.carry_out(effect) {
                return self.abandon(&error);
            }
        }
        self.landed.take();
        if is_deleted && let Some(shard) = &self.shard {
            match shard.leave() {
                // The next log begins at the upstream, on the shard of a new store.
                Ok(moves) if moves || self.log.built_in().is_some() => {
                    self.end(Bye::Restarted, "The store was deleted. Connect again.");
                }
                Ok(_) => {}
                Err(error) => self.abandon(&error),
            }
        }
    }

    fn carry_out(&self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Record(tip) => self.rows.borrow_mut().record(tip)?,
            Effect::Publish(news) => self.publish(&news),
            Effect::Forget => self.rows.borrow_mut().forget()?,
            Effect::MetDirectWriter => self.rows.borrow_mut().record_direct_writer()?,
            Effect::Deleting => self.rows.borrow_mut().record_deleting()?,
            Effect::Answer(ticket, answer) => self.reply(ticket, answer),
            Effect::Request(request, failures) => {
                self.outgoing.replace(Some((request, failures)));
            }
        }
        Ok(())
    }

    fn reply(&self, ticket: Ticket, answer: Answer) {
        if let (Answer::Halted(..), Some(problem)) = (&answer, answer.problem()) {
            console_error!("store halted: {}", problem.detail);
        }
        if let Some(waiting) = self.waiting.borrow_mut().remove(&ticket) {
            if let Some((batch, began_ms)) = waiting.counted {
                self.count(&batch, began_ms, &answer);
            }
            let from = waiting.held.as_ref().and_then(|held| held.socket.as_ref());
            if let Answer::Accepted(_) = answer {
                self.sockets.land(from.map(|(socket, _)| socket.id));
            }
            if let Some((socket, push)) = from {
                self.sockets.answer(socket, *push, &answer);
            }
            if let Answer::Accepted(_) = answer {
                self.landed.replace(waiting.held.map(|held| (ticket, held)));
            }
            // The send fails if the caller has left. The decision stands nevertheless.
            let _ = waiting.to_caller.send(answer);
        }
    }

    fn publish(&self, news: &News) {
        if let News::Moved(_) = news {
            self.sockets.land(None);
        }
        let landed = match (news, self.landed.take()) {
            (News::Appended { ticket, .. }, Some((landed, held))) if *ticket == landed => {
                Some(held)
            }
            _ => None,
        };
        let batch = landed.as_ref().map(|held| held.body.as_slice());
        let writer = landed.as_ref().and_then(|held| Some(held.socket.as_ref()?.0.id));
        self.sockets.publish(news, batch, writer);
    }

    /// Counts a push that the core does not see.
    pub(super) fn count_refusal(&self, batch: Option<&Batch>, waited_ms: u64, refusal: &Problem) {
        if let Some(push_stats) = &self.push_stats {
            push_stats.borrow_mut().count(now_ms(), waited_ms, batch, Err(refusal));
        }
    }

    /// Counts a push that was answered.
    fn count(&self, batch: &Batch, began_ms: u64, answer: &Answer) {
        let Some(push_stats) = &self.push_stats else { return };
        let refusal = answer.problem();
        let accepted = answer.accepted().map(|(how, _)| Ok(how));
        if let Some(outcome) = accepted.or(refusal.as_ref().map(Err)) {
            let now = now_ms();
            let waited_ms = now.saturating_sub(began_ms);
            push_stats.borrow_mut().count(now, waited_ms, Some(batch), outcome);
        }
    }

    /// Batches that wait for many answers of the upstream keep their leases.
    fn renew_leases(&self) {
        for held in self.waiting.borrow().values().filter_map(|waiting| waiting.held.as_ref()) {
            held.lease.renew(self.lease_duration);
        }
    }

    /// Gives up after a failure of the storage. A later row must not hide one that is missing: no caller receives an
    /// answer, and the next call starts from the rows and the log.
    fn abandon(&self, error: &Error) {
        console_error!("storage failed: {error}");
        self.end(Bye::Restarted, "The Sequencer is restarting. Connect again.");
    }

    /// Ends this actor. No caller that waits receives an answer, and sockets are told to connect again.
    fn end(&self, bye: Bye, reason: &str) {
        self.abandoned.set(true);
        if let Some(log) = self.log.built_in() {
            log.retire();
        }
        self.outgoing.take();
        self.waiting.borrow_mut().clear();
        self.sockets.close_all(bye, reason);
    }

    fn has_no_change_under_way(&self) -> bool {
        self.waiting.borrow().values().all(|waiting| !waiting.changes)
    }
}

fn interrupted<A>(answer: std::result::Result<A, oneshot::Canceled>) -> Result<A> {
    answer.map_err(|_| Error::from("the Sequencer was interrupted"))
}

/// The head in an answer. 0 if there is no stream.
fn head_of(answer: &Answer) -> Option<SeqNum> {
    match answer {
        Answer::Tip(tip) => Some(tip.as_ref().map_or(ROOT, |tip| tip.head)),
        _ => None,
    }
}

fn as_error(problem: Problem) -> Error {
    Error::from(problem.detail)
}
