//! The context of a store request, which the parts of the edge share.

use headwater_core::auth::Grant;
use headwater_core::names::StorePath;
use worker::{Context, Env};

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
    pub(super) grant: &'r Grant,
}

impl StoreContext<'_> {
    /// The store's stream at the upstream.
    pub(super) fn stream(&self) -> Stream {
        Stream::new(self.settings.upstream.clone(), self.store.as_str())
    }
}
