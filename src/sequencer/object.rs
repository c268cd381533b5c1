//! The Durable Object: carries out what [`core`](super::core) decides, and nothing more.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use headwater_core::batch::Batch;
use headwater_core::budget::BudgetLimits;
use headwater_core::event::{BackendId, Position, ROOT, SeqNum};
use headwater_core::log::LogScanner;
use headwater_core::problem::Problem;
use headwater_core::push_stats::PushStats;
use headwater_core::sequencer::call::{
    Ask, CALL_HEADER, Call, Incarnation, Inspection, LEASE_HEADER, Located, ReadStart, Shown,
};
use headwater_core::sequencer::{
    self, Answer, Core, Effect, Foresight, Input, Need, Op, Ticket, UpstreamResult,
};
use serde_json::value::to_raw_value;
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::{
    Delay, DurableObject, Env, Error, Request, Response, Result, State, console_error,
    durable_object,
};

use super::storage::Rows;
use crate::isolate::now;
use crate::lease::{BATCHES, Lease};
use crate::settings::{self, DeploymentVars, UpstreamSettings};
use crate::upstream::{Epochs, Stream};

/// One store's Sequencer. Called by the Worker only, with a [`Call`] in a header.
#[durable_object]
pub struct Sequencer {
    state: State,
    env: Env,
    /// Set by the first call, which brings the store's path.
    actor: RefCell<Option<Rc<Actor>>>,
}

impl DurableObject for Sequencer {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, actor: RefCell::new(None) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let call = request
            .headers()
            .get(CALL_HEADER)?
            .ok_or_else(|| Error::from("a Sequencer takes calls only"))?;
        let Ok(call) = serde_json::from_str::<Call>(&call) else {
            // Of a build that knows more: during a deployment it asks again, and meets one of its own.
            return Response::ok(serde_json::to_string(&Answer::Unavailable)?);
        };
        #[cfg(feature = "failpoints")]
        crate::failpoints::on_arrival().await;
        let actor = self.actor(&call.path)?;
        let said = match call.ask {
            Ask::Op(Op::Push { batch, backend_id }) => serde_json::to_string(
                &actor.push(batch, backend_id, &mut request, &self.state).await?,
            ),
            Ask::Op(op) => serde_json::to_string(&actor.call(op, &self.state).await?),
            Ask::Look(need) => serde_json::to_string(&actor.look(need, &self.state).await?),
            Ask::Read(need, position) => {
                let answer = actor.clone().look(need, &self.state).await?;
                let located = actor.locate(&position, &self.state).await?;
                serde_json::to_string(&ReadStart { answer, located })
            }
            Ask::Locate(position) => {
                serde_json::to_string(&actor.locate(&position, &self.state).await?)
            }
            Ask::Inspect => serde_json::to_string(&actor.inspect(&self.state).await?),
        };
        Response::ok(said?)
    }
}

impl Sequencer {
    fn actor(&self, path: &str) -> Result<Rc<Actor>> {
        if let Some(actor) = self.actor.borrow().as_ref().filter(|actor| !actor.abandoned.get()) {
            return Ok(actor.clone());
        }
        let actor = Rc::new(Actor::open(&self.state, &self.env, path)?);
        Ok(self.actor.borrow_mut().insert(actor).clone())
    }
}

/// The core with everything it needs to act.
struct Actor {
    core: RefCell<Core>,
    rows: RefCell<Rows>,
    stream: Stream,
    /// The store's encoded path.
    path: String,
    /// How long a batch may wait for the upstream's next answer.
    patience: Duration,
    /// How much the isolate may hold of batches.
    in_flight: BudgetLimits,
    /// The callers that wait, and the batches of those that push.
    waiting: RefCell<HashMap<Ticket, Waiting>>,
    next_ticket: Cell<u64>,
    /// The request that the core wants sent, until the upstream_loop takes it.
    outgoing: RefCell<Option<(sequencer::Request, u8)>>,
    epochs: Epochs,
    /// The storage failed: the next call starts from what is stored.
    abandoned: Cell<bool>,
    /// For the inspector, where there is one. Not of the core: no decision depends on it.
    pushes: Option<RefCell<PushStats>>,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// Of a push: its batch, and the memory that this takes.
    batch: Option<(Rc<Vec<u8>>, Lease)>,
    /// Of a push that is to be counted: what it brings, and since when it waits.
    counted: Option<(Batch, u64)>,
}

impl Actor {
    fn open(state: &State, env: &Env, path: &str) -> Result<Self> {
        let vars = DeploymentVars(env);
        let settings = UpstreamSettings::read(&vars).map_err(as_error)?;
        let mut rows = Rows::open(state.storage().sql())?;
        let limits = settings::sequencer_limits(&vars).map_err(as_error)?;
        let core = Core::new(rows.load()?, BackendId::implicit(path), limits);
        Ok(Self {
            core: RefCell::new(core),
            rows: RefCell::new(rows),
            patience: settings.patience(),
            stream: Stream::new(settings, path),
            path: path.into(),
            in_flight: settings::in_flight(limits),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
            outgoing: RefCell::default(),
            epochs: Epochs::default(),
            abandoned: Cell::new(false),
            pushes: settings::inspector(&vars)
                .map_err(as_error)?
                .then(|| RefCell::new(PushStats::new(now()))),
        })
    }

    /// Tells the tip that is known, at once. A look that needs more begins, and no caller waits for it: the next one is
    /// told what it found.
    async fn look(self: Rc<Self>, need: Need, state: &State) -> Result<Answer> {
        let answer = self.clone().call(Op::Look(Need::Known), state).await?;
        if need != Need::Known {
            drop(self.begin(Op::Look(need), None, state));
        }
        Ok(answer)
    }

    /// Finds a position in the index. Every row of it was true when it was recorded, and is for ever, as
    /// long as the backend is the same.
    async fn locate(self: Rc<Self>, position: &Position, state: &State) -> Result<Located> {
        let mut answer = self.clone().call(Op::Look(Need::Known), state).await?;
        if let Position::After(seq) = position {
            if head_of(&answer).is_some_and(|head| head < *seq) {
                answer = self.clone().call(Op::Look(Need::Fresh), state).await?;
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
        let found = self.rows.borrow().locate(position)?;
        Ok(found
            .map_or(Located::Unknown, |(plan, incarnation)| Located::Found { plan, incarnation }))
    }

    async fn inspect(self: Rc<Self>, state: &State) -> Result<Inspection> {
        let answer = self.clone().call(Op::Look(Need::Known), state).await?;
        let (segments, sealed) = self.rows.borrow().segments()?;
        let pushes = self.pushes.as_ref().map(RefCell::borrow);
        let halted = self.core.borrow().halted();
        let problem = halted.as_ref().unwrap_or(&answer).problem();
        let tip = match &answer {
            Answer::Tip(tip) => tip.as_ref(),
            _ => None,
        };
        let shown = Shown {
            state: problem
                .as_ref()
                .map_or(if tip.is_some() { "ready" } else { "no-stream" }, |problem| problem.kind),
            detail: problem.map(|problem| problem.detail),
            tip,
            segments: &segments,
            sealed,
            pushes: pushes.as_deref(),
        };
        let shown = to_raw_value(&shown)?;
        Ok(Inspection {
            shown,
            begins: segments.into_iter().map(|one| one.from).collect(),
            incarnation: tip.map(Incarnation::of),
        })
    }

    /// Answers a push. Its batch is read only if nothing refuses it before, and if the isolate has the memory for it.
    async fn push(
        self: Rc<Self>,
        batch: Batch,
        backend_id: Option<BackendId>,
        request: &mut Request,
        state: &State,
    ) -> Result<Answer> {
        let began = now();
        let op = Op::Push { batch, backend_id };
        let refused = |answer| {
            self.count(&batch, began, &answer);
            Ok(answer)
        };
        if let Some(answer) = self.clone().foreseen(&op, state).await? {
            return refused(answer);
        }
        let Some(lease) = self.lease(&batch, request.headers().get(LEASE_HEADER)?.as_deref())
        else {
            return refused(Answer::Overloaded);
        };
        let body = Rc::new(request.bytes().await?);
        interrupted(self.begin(op, Some((body, lease)), state).await)
    }

    async fn foreseen(self: Rc<Self>, op: &Op, state: &State) -> Result<Option<Answer>> {
        let foresight = self.core.borrow().foresee(op);
        match foresight {
            Foresight::Answer(answer) => return Ok(Some(answer)),
            Foresight::Open => return Ok(None),
            Foresight::AfterALook(_) => {}
        }
        match self.clone().call(Op::Look(Need::Fresh), state).await? {
            Answer::Tip(_) => {}
            no_tip => return Ok(Some(no_tip)),
        }
        let foresight = self.core.borrow().foresee(op);
        Ok(match foresight {
            Foresight::Answer(answer) | Foresight::AfterALook(answer) => Some(answer),
            Foresight::Open => None,
        })
    }

    /// The memory that a batch takes: that of the Worker, who hands it over, or where that is in another isolate, of this one.
    fn lease(&self, batch: &Batch, workers: Option<&str>) -> Option<Lease> {
        let adopted = workers.and_then(|name| Lease::adopt(&BATCHES, name, self.patience));
        adopted.or_else(|| {
            Lease::take(&BATCHES, &self.path, batch.bytes, self.patience, self.in_flight)
        })
    }

    async fn call(self: Rc<Self>, op: Op, state: &State) -> Result<Answer> {
        interrupted(self.begin(op, None, state).await)
    }

    fn begin(
        self: Rc<Self>,
        op: Op,
        batch: Option<(Rc<Vec<u8>>, Lease)>,
        state: &State,
    ) -> oneshot::Receiver<Answer> {
        let ticket = Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        let (sender, answer) = oneshot::channel();
        let counted = match &op {
            Op::Push { batch, .. } if self.pushes.is_some() => Some((*batch, now())),
            _ => None,
        };
        self.waiting.borrow_mut().insert(ticket, Waiting { answer: sender, batch, counted });
        self.handle(Input::Call(ticket, op));
        if let Some((request, failures)) = self.outgoing.take() {
            // The upstream_loop belongs to the object, not to this caller, who may leave at any time.
            state.wait_until(self.clone().upstream_loop(request, failures));
        }
        answer
    }

    /// Carries requests to the upstream and replies back, as long as the core wants.
    async fn upstream_loop(self: Rc<Self>, mut request: sequencer::Request, mut failures: u8) {
        loop {
            if failures > 0 {
                Delay::from(Duration::from_millis(100 << failures)).await;
            }
            let reply = self.perform(request).await;
            #[cfg(feature = "failpoints")]
            if matches!(reply, UpstreamResult::Appended(_)) {
                crate::failpoints::at("appended");
            }
            self.renew_leases();
            self.handle(Input::Upstream(reply));
            let Some(next) = self.outgoing.take() else { return };
            (request, failures) = next;
        }
    }

    async fn perform(&self, request: sequencer::Request) -> UpstreamResult {
        match request {
            sequencer::Request::Check => self.stream.check().await,
            sequencer::Request::ReadAll { known, probe } => {
                self.stream
                    .scan(None, LogScanner::from_start().expecting(known).probing(probe))
                    .await
            }
            sequencer::Request::ReadOn { from, known, probe } => {
                self.stream.scan(Some(from), LogScanner::onward(probe).expecting(known)).await
            }
            sequencer::Request::Create => self.stream.create(BackendId(random_uuid())).await,
            sequencer::Request::Delete => self.stream.delete().await,
            sequencer::Request::Append { ticket, parent, producer_seq } => {
                let batch = self
                    .waiting
                    .borrow()
                    .get(&ticket)
                    .and_then(|w| w.batch.as_ref().map(|(batch, _)| batch.clone()));
                let batch = batch.expect("a batch is kept until its push is answered");
                self.stream.append(parent, &self.epochs, producer_seq, &batch).await
            }
        }
    }

    /// Hands one input to the core and carries out its outputs, in order. No borrow outlives it.
    fn handle(&self, input: Input) {
        let outputs = self.core.borrow_mut().handle(input);
        for output in outputs {
            if let Err(error) = self.carry_out(output) {
                return self.abandon(error);
            }
        }
    }

    fn carry_out(&self, output: Effect) -> Result<()> {
        match output {
            Effect::Record(tip) => self.rows.borrow_mut().record(&tip)?,
            Effect::Forget => self.rows.borrow_mut().forget()?,
            Effect::Deleting => self.rows.borrow_mut().deleting()?,
            Effect::Answer(ticket, answer) => self.reply(ticket, answer),
            Effect::Request(request, failures) => {
                *self.outgoing.borrow_mut() = Some((request, failures))
            }
        }
        Ok(())
    }

    fn reply(&self, ticket: Ticket, answer: Answer) {
        if let (Answer::Halted(..), Some(problem)) = (&answer, answer.problem()) {
            console_error!("store halted: {}", problem.detail);
        }
        if let Some(waiting) = self.waiting.borrow_mut().remove(&ticket) {
            if let Some((batch, began)) = waiting.counted {
                self.count(&batch, began, &answer);
            }
            // Fails when the caller has left; what was decided stands all the same.
            let _ = waiting.answer.send(answer);
        }
    }

    /// Counts what became of a push that has waited since `began`.
    fn count(&self, batch: &Batch, began: u64, answer: &Answer) {
        let Some(pushes) = &self.pushes else { return };
        let refusal = answer.problem();
        let accepted = answer.accepted().map(|(how, _)| Ok(how));
        if let Some(outcome) = accepted.or(refusal.as_ref().map(Err)) {
            let now = now();
            pushes.borrow_mut().count(now, now.saturating_sub(began), Some(batch), outcome);
        }
    }

    /// Whoever waits longer than a lease lasts still has its batch.
    fn renew_leases(&self) {
        for (_, lease) in
            self.waiting.borrow().values().filter_map(|waiting| waiting.batch.as_ref())
        {
            lease.renew(self.patience);
        }
    }

    /// What is known can't be stored. Everyone is sent away without an answer, so that nobody relies
    /// on it, and the next call starts from what is stored and what the log says.
    fn abandon(&self, error: Error) {
        console_error!("storage failed: {error}");
        self.abandoned.set(true);
        self.outgoing.take();
        self.waiting.borrow_mut().clear();
    }
}

fn interrupted(answer: std::result::Result<Answer, oneshot::Canceled>) -> Result<Answer> {
    answer.map_err(|_| Error::from("the Sequencer was interrupted"))
}

/// The head that an answer tells; 0 where there is no stream.
fn head_of(answer: &Answer) -> Option<SeqNum> {
    match answer {
        Answer::Tip(tip) => Some(tip.as_ref().map_or(ROOT, |tip| tip.head)),
        _ => None,
    }
}

fn as_error(problem: Problem) -> Error {
    Error::from(problem.detail)
}

#[wasm_bindgen]
extern "C" {
    /// The runtime's `crypto.randomUUID()`.
    #[wasm_bindgen(js_namespace = crypto, js_name = randomUUID)]
    fn random_uuid() -> String;
}
