//! The log of a store: a stream of the upstream, or rows of the Sequencer's own storage.
//!
//! Both perform the same requests of the core. This module is the only place that knows the difference.

mod bucket;
mod built_in;
mod serve;
mod shard;

use std::rc::Rc;

use headwater_core::event::{BackendId, Offset};
use headwater_core::log::{LogAddress, LogScanner};
use headwater_core::sequencer::{Request, UpstreamResult};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::{Result, Storage};

use crate::settings::UpstreamSettings;
use crate::upstream::{NoAnswer, ProducerEpochs, Stream};

pub(crate) use self::bucket::{LogBucket, SWEEP_AGAIN};
pub(crate) use self::built_in::{BuiltInLog, End, TOO_LARGE};
pub(crate) use self::shard::Shard;

/// A store's log.
pub(crate) enum Log {
    /// A stream of the upstream.
    Upstream(Box<Stream>, ProducerEpochs, Rc<Shard>),
    /// Rows of the Sequencer's storage.
    BuiltIn(Rc<BuiltInLog>),
}

impl Log {
    /// Opens the log of the store with this path. A store that has a built-in log keeps it, until it is moved. Any
    /// other one has its log at the upstream, if the deployment has an upstream. `has_index` says whether the Sequencer
    /// has recorded appends. Also returns the shard of the upstream that the log is on, or would move to.
    pub(crate) fn open(
        settings: &UpstreamSettings,
        path: &str,
        storage: Storage,
        bucket: Rc<LogBucket>,
        has_index: bool,
    ) -> Result<(Self, Option<Rc<Shard>>)> {
        let sql = storage.sql();
        let built_in = BuiltInLog::open(storage, settings.max_log_bytes, bucket)?;
        let Some(url) = &settings.url else { return Ok((Self::BuiltIn(Rc::new(built_in)), None)) };
        let shard = Rc::new(Shard::open(sql, url, path, &built_in, has_index)?);
        let log = if built_in.end().is_some() {
            Self::BuiltIn(Rc::new(built_in))
        } else {
            let stream = Stream::new(settings.clone(), &url.of(shard.number()), path);
            Self::Upstream(Box::new(stream), ProducerEpochs::default(), shard.clone())
        };
        Ok((log, Some(shard)))
    }

    /// Where the log is.
    pub(crate) fn address(&self) -> LogAddress {
        match self {
            Self::Upstream(_, _, shard) => LogAddress::at(shard.number()),
            Self::BuiltIn(_) => LogAddress::BUILT_IN,
        }
    }

    /// The built-in log; `None` if the log is at the upstream.
    pub(crate) fn built_in(&self) -> Option<&Rc<BuiltInLog>> {
        match self {
            Self::Upstream(..) => None,
            Self::BuiltIn(log) => Some(log),
        }
    }

    /// Performs one request of the core. `batch` is the batch of an append.
    pub(crate) async fn perform(&self, request: Request, batch: Option<&[u8]>) -> UpstreamResult {
        let scanner = match &request {
            Request::ReadAll { known, probe } => {
                LogScanner::from_start().expecting(*known).probing(*probe)
            }
            Request::ReadOn { known, probe, .. } => LogScanner::onward(*probe).expecting(*known),
            _ => LogScanner::default(),
        };
        let batch = batch.unwrap_or_default();
        match self {
            Self::BuiltIn(log) => log.perform(request, scanner, batch).await,
            Self::Upstream(stream, epochs, shard) => {
                if request == Request::Create && shard.begin().is_err() {
                    return UpstreamResult::Failed;
                }
                let result = match request {
                    Request::Check => stream.check().await,
                    Request::ReadAll { .. } => stream.scan(None, scanner).await,
                    Request::ReadOn { from, .. } => stream.scan(Some(from), scanner).await,
                    Request::Create => stream.create(new_backend_id()).await,
                    Request::Close => stream.close().await,
                    Request::Delete => stream.delete().await,
                    Request::Append { parent, producer_seq, .. } => {
                        stream.append(parent, epochs, producer_seq, batch).await
                    }
                };
                let is_found =
                    matches!(result, UpstreamResult::Checked(..) | UpstreamResult::Read(..));
                if is_found && shard.find().is_err() { UpstreamResult::Failed } else { result }
            }
        }
    }

    /// Waits, for a limited time, until something follows `tail` in the log. Then returns the end of the log.
    pub(crate) async fn wait_for_append(
        &self,
        tail: &Offset,
    ) -> std::result::Result<Offset, NoAnswer> {
        match self {
            Self::Upstream(stream, ..) => stream.wait_for_append(tail).await,
            // Only this Sequencer writes to it.
            Self::BuiltIn(_) => Err(NoAnswer),
        }
    }
}

fn new_backend_id() -> BackendId {
    BackendId(random_uuid())
}

#[wasm_bindgen]
extern "C" {
    /// The runtime's `crypto.randomUUID()`.
    #[wasm_bindgen(js_namespace = crypto, js_name = randomUUID)]
    pub(crate) fn random_uuid() -> String;
}
