//! The Durable Object: takes calls of the Worker.

use std::cell::RefCell;
use std::rc::Rc;

use headwater_core::sequencer::call::{Ask, CALL_HEADER, Call, ReadStart};
use headwater_core::sequencer::{Answer, Op};
use worker::{DurableObject, Env, Error, Request, Response, Result, State, durable_object};

use super::actor::Actor;

/// The Sequencer of a store. Only the Worker calls it, with a [`Call`] in a header.
#[durable_object]
pub struct Sequencer {
    state: State,
    env: Env,
    /// Opened by the first call, which brings the store's path.
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
            // A newer build calls, during a deployment. The client sends again, and the call reaches a Sequencer of that
            // build.
            return Response::ok(serde_json::to_string(&Answer::Unavailable)?);
        };
        #[cfg(feature = "failpoints")]
        crate::failpoints::on_arrival().await;
        let actor = self.actor(&call.path)?;
        let state = &self.state;
        let answer = match call.ask {
            Ask::Op(Op::Push { batch, backend_id }) => {
                serde_json::to_string(&actor.push(batch, backend_id, &mut request, state).await?)
            }
            Ask::Op(op) => serde_json::to_string(&actor.call(op, state).await?),
            Ask::Look(need) => serde_json::to_string(&actor.look(need, state).await?),
            Ask::Read(need, position) => {
                let answer = actor.clone().look(need, state).await?;
                let located = actor.locate(&position, state).await?;
                serde_json::to_string(&ReadStart { answer, located })
            }
            Ask::Locate(position) => serde_json::to_string(&actor.locate(&position, state).await?),
            Ask::Inspect => serde_json::to_string(&actor.inspect(state).await?),
        };
        Response::ok(answer?)
    }
}

impl Sequencer {
    /// The actor. An abandoned one is replaced.
    fn actor(&self, path: &str) -> Result<Rc<Actor>> {
        if let Some(actor) = self.actor.borrow().as_ref().filter(|actor| !actor.is_abandoned()) {
            return Ok(actor.clone());
        }
        let actor = Rc::new(Actor::open(&self.state, &self.env, path)?);
        Ok(self.actor.borrow_mut().insert(actor).clone())
    }
}
