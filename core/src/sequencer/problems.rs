//! The problems that the Sequencer's refusals become.

use super::call::MoveAnswer;
use super::{Answer, Halt, Refusal, Tip};
use crate::event::SeqNum;
use crate::problem::Problem;

impl Answer {
    /// The problem of a refusal; `None` for an answer that is no refusal.
    pub fn problem(&self) -> Option<Problem> {
        Some(match self {
            Answer::Accepted(_) | Answer::AcceptedAgain(_) | Answer::Tip(_) | Answer::Deleted => {
                return None;
            }
            Answer::ServerAhead { minimum_expected, provided } => {
                server_ahead(*minimum_expected, *provided)
            }
            Answer::Gap { head, parent } => {
                let detail = format!(
                    "The batch follows event {parent}, but the head is {head}. Pull, then push again."
                );
                Problem::invalid_push(409, detail)
                    .with("reason", "gap")
                    .with("head", *head)
                    .with("parentSeqNum", *parent)
            }
            Answer::BackendIdMismatch { expected, received } => {
                let detail = "The store was reset after this client last saw it. The client must start over.";
                Problem::new(409, "backend-id-mismatch", "BackendIdMismatchError", detail)
                    .with("expected", expected.0.as_str())
                    .with("received", received.0.as_str())
                    .of(Some(expected))
            }
            Answer::Overloaded => Problem::overloaded("waiting"),
            Answer::Unavailable => Problem::unavailable(),
            Answer::Refused(Refusal { status: 429, retry_after }) => {
                Problem::rate_limited(*retry_after)
            }
            Answer::Refused(Refusal { status: 413, .. }) => {
                let detail =
                    "The log's server refused a batch of this size. Send fewer or smaller events.";
                Problem::new(413, "too-large", "PayloadTooLargeError", detail)
            }
            Answer::Refused(Refusal { status: 507, .. }) => {
                let detail = "The log has no room for more events (with a built-in log, the limit is MAX_LOG_BYTES). An administrator can make room: docs/troubleshooting.md.";
                Problem::new(507, "store-full", "StoreFullError", detail).retry_after(30)
            }
            Answer::Refused(Refusal { status, .. }) => Problem::upstream_refused(*status),
            Answer::Halted(halt, backend_id) => halted(halt).of(backend_id.as_ref()),
            Answer::Closed(tip) => closed(tip),
        })
    }
}

impl MoveAnswer {
    /// The problem of a move or a restore that can't go on; `None` for one that goes on.
    pub fn problem(&self) -> Option<Problem> {
        let (reason, detail) = match self {
            Self::Progress(_) => return None,
            Self::Refused(answer) if **answer == Answer::Tip(None) => {
                return Some(Problem::no_stream());
            }
            Self::Refused(answer) => return answer.problem(),
            Self::Taken(backend_id) => {
                let whose = backend_id.as_ref().map_or("none", |id| id.0.as_str());
                let detail = format!(
                    "The upstream has another log at the store's path (backend id: {whose}). Nothing was moved. If nobody \
                     needs that log, delete its stream at the upstream itself, and send the same request again."
                );
                ("taken", detail)
            }
            Self::Exists(backend_id) => {
                let detail = format!(
                    "The store already exists (backend id: {}). Delete it for good first, or restore to another store.",
                    backend_id.0
                );
                ("exists", detail)
            }
            Self::NotNext(copied) => {
                let detail = format!(
                    "The next part must follow event {copied}, the last one that was restored. Send it with after={copied}, \
                     or begin again with after=0."
                );
                return Some(move_refused("not-next", &detail).with("copied", *copied));
            }
            Self::NoUpstream => {
                let detail = "The deployment has no upstream. Set UPSTREAM_URL, deploy, and move the store again.";
                ("no-upstream", detail.into())
            }
            Self::WentOn => {
                let detail = "The store now has a built-in log, but somebody appended to its old log at the upstream after \
                              the move. Compare the two logs, save what only the old one has, and then delete its stream \
                              at the upstream itself.";
                ("went-on", detail.into())
            }
            Self::Invalid => {
                let detail = "A part must be a JSON array of events, each of which follows the one before it. The first \
                              part must begin with the log's header message.";
                ("invalid", detail.into())
            }
            Self::Busy => {
                let detail =
                    "Another request is changing this store now. Send the same request again.";
                let busy = Problem::new(503, "busy", "BusyError", detail);
                return Some(busy.retry_after(1));
            }
        };
        Some(move_refused(reason, &detail))
    }
}

fn move_refused(reason: &'static str, detail: &str) -> Problem {
    Problem::new(409, "move-refused", "MoveRefusedError", detail).with("reason", reason)
}

fn closed(tip: &Tip) -> Problem {
    let detail = "The store is archived: its stream is closed, and takes no more events. Its events can still be read.";
    let mut problem = Problem::new(409, "store-closed", "StoreClosedError", detail);
    problem.closed_at = Some(Box::new(tip.offset.clone()));
    problem.of(Some(&tip.backend_id))
}

fn server_ahead(minimum_expected: SeqNum, provided: SeqNum) -> Problem {
    let detail = format!(
        "The batch starts at {provided}, but the next event is {minimum_expected}. Pull, rebase, and push again."
    );
    Problem::new(409, "server-ahead", "ServerAheadError", detail)
        .with("minimumExpectedNum", minimum_expected)
        .with("providedNum", provided)
}

fn halted(halt: &Halt) -> Problem {
    let detail = match halt {
        Halt::Missing(acknowledged) => format!(
            "The log's server has no stream for this store, but event {acknowledged} was acknowledged, and nobody reset the \
             store here. The server lost its data, or is another server. The store takes no pushes until its data is back. \
             Put it back, or reset this store (DELETE)."
        ),
        Halt::Replaced(found) => format!(
            "Another log (backend {}) has taken the place of the store's log, and Headwater did not create it. The store \
             takes no pushes until its own log is back. Put that log back, adopt the other one (POST to /v1/adopt/…), or \
             reset this store (DELETE).",
            found.0
        ),
        Halt::Altered(acknowledged) => format!(
            "The log holds other events where event {acknowledged} was acknowledged: the log's server was restored to an older \
             state, and something has written to it since. The store takes no pushes until the log is restored. Restore it, \
             or reset this store (DELETE)."
        ),
        Halt::Trimmed => "The log's server no longer keeps the beginning of the log (retention), or deleted the stream while \
                          a fork of it still exists. The store takes no pushes until the beginning is back. Put it back, or \
                          reset this store (DELETE)."
            .into(),
        Halt::WentBackwards { acknowledged, found } => format!(
            "The log ends at event {found}, but event {acknowledged} was acknowledged: the log's server lost data, or was \
             restored to an older state. The store takes no pushes until the log is restored. Restore it, or reset this \
             store (DELETE)."
        ),
        Halt::Broken(place) => format!(
            "The log is not a chain ({place}): something other than Headwater wrote to it. Reset this store (DELETE). Until \
             then, it takes no pushes."
        ),
        Halt::Closed => "The log was closed, and takes no more events. Reset this store (DELETE).".into(),
    };
    // A missing stream may be back at once: a few foreign answers are enough to halt a store.
    let retry_after = if matches!(halt, Halt::Missing { .. }) { 2 } else { 30 };
    let reason = match halt {
        Halt::Missing { .. } => "missing",
        Halt::Replaced { .. } => "replaced",
        Halt::Altered { .. } => "altered",
        Halt::Trimmed => "trimmed",
        Halt::WentBackwards { .. } => "went-backwards",
        Halt::Broken(_) => "broken",
        Halt::Closed => "closed",
    };
    Problem::new(503, "store-halted", "StoreHaltedError", detail)
        .with("reason", reason)
        .retry_after(retry_after)
}
