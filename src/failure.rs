//! Why a request failed.

use headwater_core::problem::Problem;

/// Why a request failed.
pub(crate) enum Failure {
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
