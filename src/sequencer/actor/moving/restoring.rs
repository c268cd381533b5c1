//! Restores a store's log from a file, part by part. The store does not exist until its last part has arrived.

use std::rc::Rc;

use headwater_core::event::{BackendId, ROOT};
use headwater_core::log::{LogPart, LogPlace, header_of};
use headwater_core::messages::MessageSplitter;
use headwater_core::sequencer::call::{MoveAnswer, Progress};
use headwater_core::sequencer::copy::LogCopy;
use headwater_core::sequencer::{Answer, Need, Op};
use worker::{Error, Request, Result};

use super::super::Actor;
use super::copying::{Step, Stopped, Target, Writer};
use crate::log::random_uuid;

impl Actor {
    /// Takes a part of a log that is restored. The store begins with its last part.
    pub(in crate::sequencer) async fn restore(
        self: Rc<Self>,
        part: LogPart,
        request: &mut Request,
    ) -> Result<MoveAnswer> {
        let messages = request.bytes().await?;
        let actor = self.clone();
        self.step(async move {
            // Until the last part has come, nobody else may begin the store.
            actor.mover.hold();
            let step = actor.take_part(part, &messages).await;
            if !matches!(step, Ok(_) | Err(Stopped::Early(MoveAnswer::NotNext(_)))) || part.is_last
            {
                actor.mover.release();
            }
            step
        })
        .await
    }

    async fn take_part(self: &Rc<Self>, part: LogPart, messages: &[u8]) -> Step<MoveAnswer> {
        match self.clone().call(Op::Look(Need::Fresh)).await? {
            Answer::Tip(None) if !self.has_no_change_under_way() => {
                return Err(MoveAnswer::Busy.into());
            }
            Answer::Tip(None) => {}
            Answer::Tip(Some(tip)) => return Err(MoveAnswer::Exists(tip.backend_id).into()),
            answer => return Err(MoveAnswer::Refused(Box::new(answer)).into()),
        }
        let found = self.mover.copy.take();
        let copy = match found {
            _ if part.after == ROOT => {
                let id = first_of(messages)?;
                let log = self.empty_log().await?;
                let end = log.begin_copy(&id)?;
                let copy = LogCopy::begun(id, end, &random_uuid(), self.limits.segment);
                self.mover.begun(copy, Target::Restored(log), None)
            }
            Some(copy)
                if matches!(copy.to, Target::Restored(_)) && self.mover.has_rows_of(&copy) =>
            {
                copy
            }
            _ => return Err(MoveAnswer::NotNext(ROOT).into()),
        };
        let copied = copy.log.tip().head;
        if copied != part.after {
            self.mover.copy.replace(Some(copy));
            return Err(MoveAnswer::NotNext(copied).into());
        }
        let mut writer = Writer::new(copy);
        let mut failure = None;
        let mut splitter = MessageSplitter::default();
        let split = splitter.feed(messages, |message| {
            if failure.is_none() {
                failure = writer.take(message).err();
            }
        });
        if split.and_then(|()| splitter.finish()).is_err() {
            return Err(MoveAnswer::Invalid.into());
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        writer.flush()?;
        let copy = writer.copy;
        let head = copy.log.tip().head;
        let progress = |done| Progress { place: LogPlace::BuiltIn, copied: head, head, done };
        if !part.is_last {
            self.mover.copy.replace(Some(copy));
            return Ok(MoveAnswer::Progress(progress(false)));
        }
        let backend_id = copy.log.tip().backend_id.clone();
        let Target::Restored(log) = copy.to else {
            return Err(Error::from("a copy at another place").into());
        };
        self.take_index(copy.log, copy.rows_deleted, || log.begin_stream(&backend_id, false))?;
        Ok(MoveAnswer::Progress(progress(true)))
    }
}

/// The backend id of the header message that a log begins with.
fn first_of(messages: &[u8]) -> Step<BackendId> {
    let (mut first, mut splitter) = (None, MessageSplitter::default());
    let split = splitter.feed(messages, |message| {
        first.get_or_insert_with(|| header_of(message));
    });
    first.flatten().filter(|_| split.is_ok()).ok_or(MoveAnswer::Invalid.into())
}
