//! The context of a store request, which the parts of the edge share.

use headwater_core::auth::Grant;
use headwater_core::event::BackendId;
use headwater_core::log::{LogAddress, LogPlace};
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::route::Target;
use headwater_core::sequencer::Tip;
use headwater_core::sequencer::copy::LogName;
use worker::{Context, Env, Headers};

use super::{reply, sequencer_client, tip_cache};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::upstream::Stream;

/// The context of an authenticated request for a store.
pub(super) struct StoreContext<'r> {
    /// The bindings of the deployment.
    pub(super) env: &'r Env,
    /// Keeps work alive behind the answer (`wait_until`).
    pub(super) runtime: &'r Context,
    pub(super) settings: &'r Settings,
    /// The host that the request names.
    pub(super) host: &'r str,
    /// The request's URL.
    pub(super) url: &'r str,
    pub(super) store: &'r StorePath,
    /// The incarnation that the address names; `None` for the store's own URL.
    pub(super) incarnation: Option<&'r BackendId>,
    /// The copy that the address names, as [`LogName`] does.
    pub(super) copy: Option<&'r str>,
    pub(super) grant: &'r Grant,
}

impl StoreContext<'_> {
    /// Whether the address names this log: the store's own URL names every log of the store.
    pub(super) fn names(&self, tip: &Tip) -> bool {
        self.incarnation
            .is_none_or(|id| *id == tip.backend_id && self.copy == LogName::of(tip).copy.as_deref())
    }

    /// Refuses a request whose address names another incarnation than the store's. `tip` is the store's, if it has a
    /// stream.
    pub(super) fn check_incarnation(&self, tip: Option<&Tip>) -> Result<(), Problem> {
        match tip {
            Some(tip) if self.names(tip) => Ok(()),
            Some(tip) => Err(Problem::incarnation_gone().of(Some(&tip.backend_id))),
            None if self.incarnation.is_some() => Err(Problem::no_stream()),
            None => Ok(()),
        }
    }

    /// The failure that fits the address. A write to the address of an incarnation that has ended does not name a wrong
    /// id: it names a stream that is gone.
    pub(super) fn refusal_of(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Problem(problem)
                if self.incarnation.is_some() && problem.kind == "backend-id-mismatch" =>
            {
                Problem::incarnation_gone().of(problem.backend_id.as_deref()).into()
            }
            failure => failure,
        }
    }

    /// Sets the headers of identity: the backend id, the head, and the address of the incarnation.
    pub(super) fn identify(&self, headers: &Headers, tip: &Tip) -> worker::Result<()> {
        reply::identify(headers, tip)?;
        match reply::address(Target::of(self.url).path, tip) {
            Some(path) => headers.set("content-location", &path),
            None => Ok(()),
        }
    }

    /// Where the store's log is, as far as this isolate knows. A log that moved meanwhile is found at the next call of
    /// the Sequencer.
    pub(super) fn address(&self) -> LogAddress {
        tip_cache::address(self.store).unwrap_or_else(|| match &self.settings.upstream.url {
            Some(url) => LogAddress::at(url.shard_of(self.store.as_str())),
            None => LogAddress::BUILT_IN,
        })
    }

    /// The store's log.
    pub(super) fn stream(&self) -> worker::Result<Stream> {
        let (settings, path) = (self.settings.upstream.clone(), self.store.as_str());
        match (self.address(), settings.url.clone()) {
            (LogAddress { place: LogPlace::Upstream, shard }, Some(url)) => {
                Ok(Stream::new(settings, &url.of(shard), path))
            }
            _ => sequencer_client::stream(self, settings),
        }
    }
}
