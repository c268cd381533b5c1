//! Shared by the parts of the edge: the context of a store request, and its failures.

use headwater_core::auth::Grant;
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
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
    pub(super) store: &'r StorePath,
    pub(super) grant: &'r Grant,
}

impl StoreContext<'_> {
    /// The store's stream at the upstream.
    pub(super) fn stream(&self) -> Stream {
        Stream::new(self.settings.upstream.clone(), self.store.as_str())
    }
}

/// Why a request failed.
pub(super) enum Failure {
    /// A refusal for the caller.
    Problem(Problem),
    /// A failure of the runtime, which goes to the log. The caller receives only [`Problem::internal`].
    Runtime(worker::Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<worker::Error> for Failure {
    fn from(error: worker::Error) -> Self {
        Self::Runtime(error)
    }
}
