//! The Durable Object: takes calls of the Worker, and frames of sockets.

use std::cell::RefCell;
use std::rc::Rc;

use headwater_core::sequencer::call::{Ask, CALL_HEADER, Call};
use headwater_core::sequencer::{Answer, Op};
use headwater_core::socket::{SUBPROTOCOL, ServerFrame, SocketGrant};
use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, durable_object,
};

use super::actor::{Actor, sweep};
use super::frames::FrameContext;
use super::sockets::Sockets;
use crate::isolate::now_ms;
use crate::log::LogBucket;
use crate::settings::Settings;

/// The Sequencer of a store. Only the Worker calls it, with a [`Call`] in a header.
#[durable_object]
pub struct Sequencer {
    state: Rc<State>,
    env: Env,
    /// Opened by the first call, which brings the store's path.
    actor: RefCell<Option<Rc<Actor>>>,
    sockets: Rc<Sockets>,
}

impl DurableObject for Sequencer {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, actor: RefCell::new(None), sockets: Rc::default() }
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
        let answer = match call.ask {
            Ask::Connect(grant) => {
                return self.open_socket(actor, &call.path, grant, &request).await;
            }
            Ask::Op(Op::Push { batch, backend_id }) => {
                serde_json::to_string(&actor.push(batch, backend_id, &mut request).await?)
            }
            Ask::Op(op) => serde_json::to_string(&actor.call(op).await?),
            Ask::Look(need) => serde_json::to_string(&actor.look(need).await?),
            Ask::Read(need, position) => {
                serde_json::to_string(&actor.read_start(need, &position).await?)
            }
            Ask::Locate(position) => serde_json::to_string(&actor.locate(&position).await?),
            Ask::Log => return actor.serve_log(&request).await,
            Ask::Move(place) => serde_json::to_string(&actor.move_to(place).await?),
            Ask::Restore(part) => serde_json::to_string(&actor.restore(part, &mut request).await?),
            Ask::Inspect => serde_json::to_string(&actor.inspect().await?),
        };
        Response::ok(answer?)
    }

    /// Deletes what is left in the bucket.
    async fn alarm(&self) -> Result<Response> {
        sweep(&LogBucket::of(&self.state, &self.env), &self.state).await;
        Response::empty()
    }

    async fn websocket_message(
        &self,
        raw: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        self.sockets.wake(&self.state);
        let Some(socket) = self.sockets.find(&raw) else { return Ok(()) };
        #[cfg(feature = "failpoints")]
        crate::failpoints::on_arrival().await;
        let frame = match message {
            WebSocketIncomingMessage::String(text) => text.into_bytes(),
            WebSocketIncomingMessage::Binary(bytes) => bytes,
        };
        let actor = self.actor(socket.path())?;
        let context = FrameContext { env: &self.env, actor, sockets: &self.sockets, socket };
        context.serve(frame).await
    }

    async fn websocket_close(
        &self,
        raw: WebSocket,
        code: usize,
        reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        self.sockets.wake(&self.state);
        self.sockets.remove(&raw);
        // Ends the closing handshake, unless the runtime has done so. It refuses codes that no endpoint may send (RFC 6455
        // §7.4.1), such as that of a client that closes without a code.
        let code = u16::try_from(code).ok().filter(|code| matches!(code, 1000 | 3000..=4999));
        let _ = raw.close(code, code.map(|_| reason));
        Ok(())
    }

    async fn websocket_error(&self, raw: WebSocket, _error: Error) -> Result<()> {
        self.sockets.wake(&self.state);
        self.sockets.remove(&raw);
        Ok(())
    }
}

impl Sequencer {
    /// Opens a socket, unless the store's tip can't be told.
    async fn open_socket(
        &self,
        actor: Rc<Actor>,
        path: &str,
        grant: SocketGrant,
        request: &Request,
    ) -> Result<Response> {
        let limits = match Settings::of(&self.env) {
            Ok(settings) => settings.limits,
            Err(problem) => return Err(problem.detail.into()),
        };
        let answer = actor.clone().welcome().await?;
        let Answer::Tip(Some(tip)) = &answer else {
            return Response::ok(serde_json::to_string(&answer)?);
        };
        if self.sockets.is_full() {
            return Response::ok(serde_json::to_string(&Answer::Tip(None))?);
        }
        let expires_in_ms = grant.expires_in_ms(now_ms());
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let socket = self.sockets.accept(&self.state, server, path, grant)?;
        socket.send(&ServerFrame::Hello {
            id: socket.id,
            backend: &tip.backend_id,
            head: tip.head,
            offset: &tip.offset,
            limits: limits.into(),
            expires_in_ms,
        });
        actor.watch();
        let response = Response::from_websocket(client)?;
        if request.headers().has("sec-websocket-protocol")? {
            response.headers().set("sec-websocket-protocol", SUBPROTOCOL)?;
        }
        Ok(response)
    }

    /// The actor. An abandoned one is replaced.
    fn actor(&self, path: &str) -> Result<Rc<Actor>> {
        if let Some(actor) = self.actor.borrow().as_ref().filter(|actor| !actor.is_abandoned()) {
            return Ok(actor.clone());
        }
        self.sockets.wake(&self.state);
        let actor = Actor::open(self.state.clone(), &self.env, path, self.sockets.clone())?;
        let actor = Rc::new(actor);
        actor.watch();
        actor.sweep_bucket();
        actor.shelve();
        Ok(self.actor.borrow_mut().insert(actor).clone())
    }
}
