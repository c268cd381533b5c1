//! The frames of a socket: a live read and pushes over one WebSocket (docs/http-api.md, "The socket").
//!
//! A frame is one line of JSON. `\n` and the bytes of a batch may follow, which nobody changes on the way. A receiver
//! ignores a frame whose kind it does not know, because a newer build may have sent it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::BatchLimits;
use crate::event::{BackendId, Offset, SeqNum};
use crate::problem::Problem;
use crate::turns::Turns;

/// The subprotocol of the socket.
pub const SUBPROTOCOL: &str = "headwater.v1";

/// A subprotocol with this prefix carries the token, because a browser can't set headers on a WebSocket.
pub const TOKEN_PREFIX: &str = "bearer.";

/// The text that a client sends to learn whether the socket still works. The runtime answers [`PONG`] without waking the
/// Durable Object.
pub const PING: &str = "ping";
/// The answer to [`PING`].
pub const PONG: &str = "pong";

/// The most pushes of one socket that may wait for their answers.
pub const MAX_PUSHES_IN_FLIGHT: u32 = 16;

/// The largest batch that the Sequencer sends to readers. They read a larger one by HTTP.
pub const MAX_BROADCAST_BYTES: usize = 64 << 10;

/// The most bytes that a socket may leave unreceived ([`ClientFrame::Received`]). A slower one is closed.
pub const MAX_UNRECEIVED_BYTES: u64 = 1 << 20;

/// The longest line of JSON in a client's frame. A token takes most of it.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// Why the Sequencer closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bye {
    /// The token has expired, or a new one is not valid.
    Unauthorized,
    /// The reader does not receive what it is sent.
    TooSlow,
    /// A frame is not one.
    Malformed,
    /// The Sequencer starts again.
    Restarted,
}

impl Bye {
    /// The reason in a word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::TooSlow => "too-slow",
            Self::Malformed => "malformed",
            Self::Restarted => "restarted",
        }
    }

    /// The code of the closing handshake (RFC 6455 §7.4). 4000 and above are ours.
    pub fn code(self) -> u16 {
        match self {
            Self::Unauthorized => 4401,
            Self::TooSlow => 4408,
            Self::Malformed => 4400,
            Self::Restarted => 1012,
        }
    }
}

/// A frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// `{"push":{"id":7,"backend":"…"}}`, `\n`, and a batch.
    Push {
        /// Names the push in its answer. The client chooses the number.
        id: u64,
        /// The backend id that the client believes.
        backend_id: Option<BackendId>,
        /// Where the batch begins in the frame.
        batch_at: usize,
    },
    /// `{"token":"…"}`: replaces the token of the socket.
    Token(String),
    /// `{"received":n}`: the client has received so many more bytes.
    Received(u64),
    /// `{"want":true}`: the client holds a batch, and stands in line for a turn.
    Want,
    /// A kind of frame that this build does not know.
    Unknown,
}

#[derive(Deserialize)]
struct ClientHead {
    push: Option<PushHead>,
    token: Option<String>,
    received: Option<u64>,
    want: Option<bool>,
}

#[derive(Deserialize)]
struct PushHead {
    id: u64,
    backend: Option<String>,
}

/// A frame is longer than a client may send, or is not one line of JSON in front.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedFrame;

impl ClientFrame {
    /// Reads a frame.
    pub fn parse(frame: &[u8]) -> Result<Self, MalformedFrame> {
        let head_end = frame.iter().take(MAX_HEAD_BYTES + 1).position(|byte| *byte == b'\n');
        let head = match head_end {
            Some(end) => &frame[..end],
            None if frame.len() <= MAX_HEAD_BYTES => frame,
            None => return Err(MalformedFrame),
        };
        let head: ClientHead = serde_json::from_slice(head).map_err(|_| MalformedFrame)?;
        Ok(match head {
            ClientHead { push: Some(PushHead { id, backend }), .. } => Self::Push {
                id,
                backend_id: backend.map(BackendId),
                batch_at: head_end.map_or(frame.len(), |end| end + 1),
            },
            ClientHead { token: Some(token), .. } => Self::Token(token),
            ClientHead { received: Some(bytes), .. } => Self::Received(bytes),
            ClientHead { want: Some(true), .. } => Self::Want,
            _ => Self::Unknown,
        })
    }
}

/// A frame of the Sequencer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerFrame<'f> {
    /// The first frame.
    Hello {
        /// The client's name in a [`Turn`].
        id: u64,
        /// The backend id of the store.
        backend: &'f BackendId,
        /// The head.
        head: SeqNum,
        /// The offset behind the head.
        offset: &'f Offset,
        /// The bounds of a push.
        limits: HelloLimits,
        /// The milliseconds until the socket needs a new token; `None` if it needs none.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
    },
    /// The token was replaced.
    Granted {
        /// As in [`ServerFrame::Hello`].
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
    },
    /// The batch of a push is in the log.
    Ack {
        /// The client's number of the push.
        push: u64,
        /// The head, which is the last event of the batch, or a later one.
        head: SeqNum,
        /// The offset behind the head.
        offset: &'f Offset,
        /// The writers that push next; `None` if nobody contends.
        #[serde(skip_serializing_if = "Option::is_none")]
        turn: Option<Turn>,
    },
    /// The Sequencer refuses a push.
    Refuse {
        /// The client's number of the push.
        push: u64,
        /// The problem, with the members of an HTTP answer.
        problem: Value,
        /// `Retry-After` in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// The writers that push next; `None` if nobody contends.
        #[serde(skip_serializing_if = "Option::is_none")]
        turn: Option<Turn>,
    },
    /// Another client's batch landed. It follows the line.
    Events {
        /// The head before the batch.
        parent: SeqNum,
        /// The head.
        head: SeqNum,
        /// The offset before the batch.
        from: &'f Offset,
        /// The offset behind the batch.
        offset: &'f Offset,
        /// The writers that push next; `None` if nobody contends.
        #[serde(skip_serializing_if = "Option::is_none")]
        turn: Option<Turn>,
    },
    /// The log has moved on. The client reads what is new by HTTP.
    Moved {
        /// The head.
        head: SeqNum,
        /// The offset behind the head.
        offset: &'f Offset,
        /// The writers that push next; `None` if nobody contends.
        #[serde(skip_serializing_if = "Option::is_none")]
        turn: Option<Turn>,
    },
    /// Another incarnation took the log's place.
    Reset {
        /// Its backend id.
        backend: &'f BackendId,
    },
    /// The Sequencer closes the socket.
    Bye {
        /// [`Bye::reason`]
        reason: &'static str,
        /// What happened, in words.
        detail: &'f str,
    },
}

/// The writers that push next, in their order ([`crate::turns`]).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// The names of the writers ([`ServerFrame::Hello`]).
    line: Vec<u64>,
    /// How long a client waits for each writer before it, in milliseconds.
    patience_ms: u64,
}

impl Turn {
    /// The turns as the line has them; `None` if nobody contends.
    pub fn of(turns: &Turns<u64>) -> Option<Self> {
        let line: Vec<u64> = turns.next().collect();
        (!line.is_empty()).then(|| Self { line, patience_ms: turns.patience_ms() })
    }
}

/// The bounds of a push, which [`ServerFrame::Hello`] tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloLimits {
    /// The most events.
    events: usize,
    /// The most bytes.
    bytes: usize,
    /// [`MAX_PUSHES_IN_FLIGHT`]
    pushes: u32,
}

impl From<BatchLimits> for HelloLimits {
    fn from(limits: BatchLimits) -> Self {
        Self { events: limits.events, bytes: limits.bytes, pushes: MAX_PUSHES_IN_FLIGHT }
    }
}

impl ServerFrame<'_> {
    /// A refusal of a push.
    pub fn refuse(push: u64, problem: &Problem, turn: Option<Turn>) -> Self {
        let retry_after_ms = problem.retry_after.map(|seconds| u64::from(seconds) * 1_000);
        Self::Refuse { push, problem: problem.to_json(), retry_after_ms, turn }
    }

    /// The bytes of the frame, with a batch behind its line.
    pub fn with_batch(&self, batch: &[u8]) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(batch);
        bytes
    }

    /// The bytes of the frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a frame holds nothing that JSON can't express")
    }
}

/// The grant of a socket: all that a Sequencer must know of a client after a hibernation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketGrant {
    /// Whether the client may push.
    pub writes: bool,
    /// The end of the grant in milliseconds since 1970; `None` if it never ends.
    pub until_ms: Option<u64>,
}

impl SocketGrant {
    /// Whether the grant has ended.
    pub fn has_ended(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until| until <= now_ms)
    }

    /// The milliseconds until the grant ends.
    pub fn expires_in_ms(&self, now_ms: u64) -> Option<u64> {
        self.until_ms.map(|until| until.saturating_sub(now_ms))
    }
}

/// How much of what a socket was sent is on its way.
#[derive(Debug, Default)]
pub struct Unreceived(u64);

impl Unreceived {
    /// Counts bytes that are sent now. False if the client has left too many unreceived.
    pub fn send(&mut self, bytes: usize) -> bool {
        self.0 = self.0.saturating_add(bytes as u64);
        self.0 <= MAX_UNRECEIVED_BYTES
    }

    /// Counts bytes that the client has received. After a hibernation, a client may name more than the Sequencer remembers.
    pub fn receive(&mut self, bytes: u64) {
        self.0 = self.0.saturating_sub(bytes);
    }
}
