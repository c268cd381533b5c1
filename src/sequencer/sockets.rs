//! The open sockets of a store. The runtime keeps them while the Durable Object hibernates, with an attachment that says
//! whose socket each is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::sequencer::{Answer, News};
use headwater_core::socket::{
    Bye, MAX_BROADCAST_BYTES, MAX_PUSHES_IN_FLIGHT, PING, PONG, ServerFrame, SocketGrant, Turn,
    Unreceived,
};
use headwater_core::turns::Turns;
use serde::{Deserialize, Serialize};
use worker::js_sys::{ArrayBuffer, Uint8Array};
use worker::{Result, State, WebSocket, WebSocketRequestResponsePair};

use crate::isolate::now_ms;

/// Names a socket of a store.
pub(super) type SocketId = u64;

/// The most sockets of a store. The runtime takes 32,768
/// (<https://developers.cloudflare.com/durable-objects/platform/limits/>).
const MAX_SOCKETS: usize = 32_000;

/// What the Sequencer must know of a socket after a hibernation.
#[derive(Serialize, Deserialize)]
struct Attachment {
    id: SocketId,
    path: String,
    grant: SocketGrant,
}

/// An open socket.
pub(super) struct Socket {
    pub(super) id: SocketId,
    path: String,
    raw: WebSocket,
    grant: RefCell<SocketGrant>,
    /// Pushes that wait for their answers.
    in_flight: Cell<u32>,
    unreceived: RefCell<Unreceived>,
    is_closed: Cell<bool>,
}

impl Socket {
    fn new(raw: WebSocket, Attachment { id, path, grant }: Attachment) -> Self {
        Self {
            id,
            path,
            raw,
            grant: RefCell::new(grant),
            in_flight: Cell::default(),
            unreceived: RefCell::default(),
            is_closed: Cell::default(),
        }
    }

    fn attach(&self) -> Result<()> {
        let attachment =
            Attachment { id: self.id, path: self.path.clone(), grant: self.grant.borrow().clone() };
        self.raw.serialize_attachment(serde_json::to_string(&attachment)?)
    }

    /// The store. `None` for a path that no build writes.
    pub(super) fn store(&self) -> Option<StorePath> {
        StorePath::from_encoded(&self.path)
    }

    /// The store's encoded path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn writes(&self) -> bool {
        self.grant.borrow().writes
    }

    /// Whether the token is still valid. Otherwise the socket is closed.
    pub(super) fn check_grant(&self) -> bool {
        let has_ended = self.grant.borrow().has_ended(now_ms());
        if has_ended {
            self.close(Bye::Unauthorized, "The token has expired. Connect again with a new one.");
        }
        !has_ended
    }

    /// Replaces the grant, and tells the client how long it lasts.
    pub(super) fn renew(&self, grant: SocketGrant) -> Result<()> {
        let expires_in_ms = grant.expires_in_ms(now_ms());
        self.grant.replace(grant);
        self.attach()?;
        self.send(&ServerFrame::Granted { expires_in_ms });
        Ok(())
    }

    /// Refuses the push with this number, which the core does not see.
    pub(super) fn refuse(&self, push: u64, problem: &Problem) {
        self.send(&ServerFrame::refuse(push, problem, None));
    }

    pub(super) fn received(&self, bytes: u64) {
        self.unreceived.borrow_mut().receive(bytes);
    }

    /// Counts a push that begins; `None` if too many wait already.
    pub(super) fn begin_push(self: &Rc<Self>) -> Option<PushInFlight> {
        let in_flight = self.in_flight.get();
        (in_flight < MAX_PUSHES_IN_FLIGHT).then(|| {
            self.in_flight.set(in_flight + 1);
            PushInFlight(self.clone())
        })
    }

    pub(super) fn send(&self, frame: &ServerFrame<'_>) {
        let bytes = frame.to_bytes();
        self.send_buffer(&Uint8Array::from(bytes.as_slice()).buffer(), bytes.len());
    }

    /// Sends bytes that may go to many sockets. A socket that fails is about to be closed by the runtime.
    fn send_buffer(&self, buffer: &ArrayBuffer, bytes: usize) {
        if !self.unreceived.borrow_mut().send(bytes) {
            return self.close(Bye::TooSlow, "The client receives too slowly. Connect again.");
        }
        let _ = self.raw.as_ref().send_with_array_buffer(buffer);
    }

    /// Says why, and closes the socket.
    pub(super) fn close(&self, bye: Bye, detail: &str) {
        if self.is_closed.replace(true) {
            return;
        }
        let frame = ServerFrame::Bye { reason: bye.reason(), detail }.to_bytes();
        let _ = self.raw.send_with_bytes(frame);
        let _ = self.raw.close(Some(bye.code()), Some(bye.reason()));
    }
}

/// A push that waits for its answer, until it is dropped.
pub(super) struct PushInFlight(Rc<Socket>);

impl Drop for PushInFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// The open sockets of a store.
#[derive(Default)]
pub(super) struct Sockets {
    /// `None` until the first event after a hibernation.
    all: RefCell<Option<HashMap<SocketId, Rc<Socket>>>>,
    last_id: Cell<SocketId>,
    turns: RefCell<Turns<SocketId>>,
}

impl Sockets {
    /// Takes over the sockets that the runtime has kept.
    pub(super) fn wake(&self, state: &State) {
        if self.all.borrow().is_some() {
            return;
        }
        let kept = state.get_websockets().into_iter().filter_map(read).map(Rc::new);
        let all: HashMap<SocketId, Rc<Socket>> = kept.map(|socket| (socket.id, socket)).collect();
        self.last_id.set(all.keys().max().copied().unwrap_or(0));
        self.all.replace(Some(all));
    }

    pub(super) fn len(&self) -> usize {
        self.all.borrow().as_ref().map_or(0, HashMap::len)
    }

    /// The number of clients that wait for a turn.
    pub(super) fn waiting(&self) -> usize {
        self.turns.borrow().len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= MAX_SOCKETS
    }

    /// The socket of a frame. `None` if it is closed already, even if its client has not yet taken note.
    pub(super) fn find(&self, raw: &WebSocket) -> Option<Rc<Socket>> {
        let id = attachment_of(raw)?.id;
        self.all.borrow().as_ref()?.get(&id).filter(|socket| !socket.is_closed.get()).cloned()
    }

    /// Accepts a socket.
    pub(super) fn accept(
        &self,
        state: &State,
        raw: WebSocket,
        path: &str,
        grant: SocketGrant,
    ) -> Result<Rc<Socket>> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        state.set_websocket_auto_response(&WebSocketRequestResponsePair::new(PING, PONG)?);
        state.accept_web_socket(&raw);
        let socket = Rc::new(Socket::new(raw, Attachment { id, path: path.into(), grant }));
        socket.attach()?;
        self.all.borrow_mut().get_or_insert_default().insert(id, socket.clone());
        Ok(socket)
    }

    /// Forgets a socket that is closed.
    pub(super) fn remove(&self, raw: &WebSocket) {
        if let (Some(all), Some(Attachment { id, .. })) =
            (self.all.borrow_mut().as_mut(), attachment_of(raw))
        {
            all.remove(&id);
            self.turns.borrow_mut().leave(id);
        }
    }

    /// Closes every socket. Their clients catch up when they connect again.
    pub(super) fn close_all(&self, bye: Bye, detail: &str) {
        for socket in self.all.take().into_iter().flat_map(HashMap::into_values) {
            socket.close(bye, detail);
        }
    }

    /// Answers a push of a socket. Its writer stands in line if it came too late.
    pub(super) fn answer(&self, socket: &Socket, push: u64, answer: &Answer) {
        if let Answer::ServerAhead { .. } = answer {
            self.want(socket);
        }
        let turn = Turn::of(&self.turns.borrow());
        match (answer.accepted(), answer.problem()) {
            (Some((_, tip)), _) => {
                socket.send(&ServerFrame::Ack { push, head: tip.head, offset: &tip.offset, turn });
            }
            (None, problem) => {
                let problem = problem.unwrap_or_else(Problem::internal);
                socket.send(&ServerFrame::refuse(push, &problem, turn));
            }
        }
    }

    /// The client holds a batch, and stands in line.
    pub(super) fn want(&self, socket: &Socket) {
        self.turns.borrow_mut().want(socket.id, now_ms());
    }

    /// A batch has landed. The next turn begins.
    pub(super) fn land(&self, writer: Option<SocketId>) {
        self.turns.borrow_mut().land(writer, now_ms());
    }

    /// Tells every socket but the writer's own. `batch` are the bytes that landed, if the Sequencer holds them.
    pub(super) fn publish(&self, news: &News, batch: Option<&[u8]>, writer: Option<SocketId>) {
        if self.len() == 0 {
            return;
        }
        let turn = Turn::of(&self.turns.borrow());
        let frame = match (news, batch) {
            (News::Appended { parent, from, tip, .. }, Some(batch))
                if batch.len() <= MAX_BROADCAST_BYTES =>
            {
                let frame = ServerFrame::Events {
                    parent: *parent,
                    head: tip.head,
                    from,
                    offset: &tip.offset,
                    turn,
                };
                frame.with_batch(batch)
            }
            (News::Appended { tip, .. } | News::Moved(tip), _) => {
                ServerFrame::Moved { head: tip.head, offset: &tip.offset, turn }.to_bytes()
            }
            // The clients connect again, and learn the backend id of the stream that this creates.
            (News::Deleted, _) => {
                return self.close_all(Bye::Restarted, "The store was deleted. Connect again.");
            }
            (News::Begun(tip), _) => ServerFrame::Reset { backend: &tip.backend_id }.to_bytes(),
        };
        // One buffer for all sockets: the runtime only reads it.
        let buffer = Uint8Array::from(frame.as_slice()).buffer();
        for socket in self.all.borrow().iter().flat_map(HashMap::values) {
            if Some(socket.id) != writer && socket.check_grant() {
                socket.send_buffer(&buffer, frame.len());
            }
        }
    }
}

fn attachment_of(raw: &WebSocket) -> Option<Attachment> {
    let text = raw.deserialize_attachment::<String>().ok()??;
    serde_json::from_str(&text).ok()
}

fn read(raw: WebSocket) -> Option<Socket> {
    let attachment = attachment_of(&raw)?;
    Some(Socket::new(raw, attachment))
}
