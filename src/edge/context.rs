//! What the parts of the edge share: the request that is being answered, and how an answer can fail.

use headwater_core::auth::Grant;
use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use worker::{Context, Env};

use crate::settings::Settings;
use crate::upstream::Stream;

/// A request for a store that has been let in.
pub struct StoreRequest<'r> {
    /// The bindings of the deployment.
    pub env: &'r Env,
    /// The runtime's context of this request, which keeps work alive behind the answer.
    pub runtime: &'r Context,
    pub settings: &'r Settings,
    /// The host that the request names.
    pub host: &'r str,
    pub store: &'r StorePath,
    /// What the caller may do.
    pub grant: &'r Grant,
}

impl StoreRequest<'_> {
    /// The store's stream at the upstream.
    pub fn stream(&self) -> Stream {
        Stream::new(self.settings.upstream.clone(), self.store.as_str())
    }
}

/// Why a request got no ordinary answer.
pub enum Failure {
    /// The caller is told.
    Problem(Problem),
    /// The runtime failed; the log is told.
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
