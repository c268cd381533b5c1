//! Frames of a client: pushes, and new tokens.

use std::rc::Rc;

use headwater_core::auth::Scope;
use headwater_core::batch::{self, Batch};
use headwater_core::event::BackendId;
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::request_log::Entry;
use headwater_core::route::Verb;
use headwater_core::sequencer::Op;
use headwater_core::socket::{Bye, ClientFrame, MalformedFrame, SocketGrant};
use worker::{Env, Result, console_error};

use super::actor::{Actor, Held};
use super::sockets::{PushInFlight, Socket, Sockets};
use crate::failure::Failure;
use crate::isolate::now_ms;
use crate::lease::Lease;
use crate::settings::Settings;
use crate::{auth, rate_limit, request_log};

/// What a frame needs.
pub(super) struct FrameContext<'f> {
    pub(super) env: &'f Env,
    pub(super) actor: Rc<Actor>,
    pub(super) sockets: &'f Sockets,
    pub(super) socket: Rc<Socket>,
}

impl FrameContext<'_> {
    /// Serves a frame.
    pub(super) async fn serve(self, mut frame: Vec<u8>) -> Result<()> {
        if !self.socket.check_grant() {
            return Ok(());
        }
        match ClientFrame::parse(&frame) {
            Ok(ClientFrame::Push { id, backend_id, batch_at }) => {
                frame.drain(..batch_at);
                self.push(id, backend_id, frame).await
            }
            Ok(ClientFrame::Token(token)) => self.renew(&token).await,
            Ok(ClientFrame::Received(bytes)) => {
                self.socket.received(bytes);
                Ok(())
            }
            Ok(ClientFrame::Want) => {
                if self.socket.writes() {
                    self.sockets.want(&self.socket);
                }
                Ok(())
            }
            Ok(ClientFrame::Unknown) => Ok(()),
            Err(MalformedFrame) => {
                let detail = "A frame must begin with one line of JSON (docs/http-api.md).";
                self.socket.close(Bye::Malformed, detail);
                Ok(())
            }
        }
    }

    /// Answers a push by a frame, and writes it to the log.
    async fn push(&self, id: u64, backend_id: Option<BackendId>, body: Vec<u8>) -> Result<()> {
        let store = self.store()?;
        let settings = match Settings::of(self.env) {
            Ok(settings) => settings,
            Err(problem) => {
                self.socket.refuse(id, &problem);
                return Ok(());
            }
        };
        let mut entry = Entry::new("SOCKET".into(), None, now_ms());
        entry.aims(&store, &Verb::Push);
        let status = match self.admit(&settings, &store, &body, &mut entry).await {
            Ok(Admitted { batch, lease, in_flight }) => {
                let held =
                    Held { body: Rc::new(body), lease, socket: Some((self.socket.clone(), id)) };
                let op = Op::Push { batch, backend_id };
                let answer = self.actor.clone().push_held(op, held).await;
                drop(in_flight);
                entry.waits.lap("sequencer", now_ms());
                let answer = answer?;
                match (answer.accepted(), answer.problem()) {
                    (Some((outcome, _)), _) => {
                        entry.outcome = outcome;
                        200
                    }
                    (None, problem) => entry.refused(&problem.unwrap_or_else(Problem::internal)),
                }
            }
            Err(Refused { problem, batch }) => {
                self.socket.refuse(id, &problem);
                self.actor.count_refusal(batch.as_ref(), entry.waits.total(now_ms()), &problem);
                entry.refused(&problem)
            }
        };
        entry.answered(status, now_ms());
        request_log::write(&entry, settings.log_requests, self.env);
        Ok(())
    }

    /// Checks a push as the Worker does, and takes its memory.
    async fn admit(
        &self,
        settings: &Settings,
        store: &StorePath,
        body: &[u8],
        entry: &mut Entry,
    ) -> std::result::Result<Admitted, Refused> {
        if !self.socket.writes() {
            return Err(Problem::needs_scope(Scope::Write.name()).into());
        }
        let in_flight = self.socket.begin_push().ok_or_else(|| Problem::overloaded("arriving"))?;
        rate_limit::check(self.env, store).await?;
        if body.len() > settings.limits.bytes {
            return Err(Problem::too_large(settings.limits.bytes).into());
        }
        let batch = batch::check(body, settings.limits).map_err(|error| Problem::from(&error))?;
        entry.brings(&batch);
        let lease = self.actor.lease(&batch, None).ok_or_else(|| Refused {
            problem: Problem::overloaded("waiting"),
            batch: Some(batch),
        })?;
        Ok(Admitted { batch, lease, in_flight })
    }

    /// Replaces the token. A token that is not valid for this store closes the socket.
    async fn renew(&self, token: &str) -> Result<()> {
        let store = self.store()?;
        let renewed = match Settings::of(self.env) {
            Ok(settings) => auth::renew(token, &settings.auth).await,
            Err(problem) => Err(problem.into()),
        };
        let permitted = renewed.and_then(|grant| {
            grant.permits(&store, Scope::Read)?;
            Ok(SocketGrant {
                writes: grant.permits(&store, Scope::Write).is_ok(),
                until_ms: grant.until(),
            })
        });
        match permitted {
            Ok(grant) => self.socket.renew(grant)?,
            Err(Failure::Problem(problem)) if matches!(problem.status, 401 | 403) => {
                self.socket.close(Bye::Unauthorized, &problem.detail);
            }
            // The token was not checked. The socket goes on with the one that it has.
            Err(Failure::Problem(problem)) => {
                console_error!("a socket's new token was not checked: {}", problem.detail);
            }
            Err(Failure::Runtime(error)) => {
                console_error!("a socket's new token was not checked: {error}");
            }
        }
        Ok(())
    }

    fn store(&self) -> Result<StorePath> {
        self.socket.store().ok_or_else(|| "a socket has no store".into())
    }
}

/// A push that may go to the core.
struct Admitted {
    batch: Batch,
    lease: Lease,
    in_flight: PushInFlight,
}

/// A push that the core does not see.
struct Refused {
    problem: Problem,
    batch: Option<Batch>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, batch: None }
    }
}
