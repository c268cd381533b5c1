//! The Worker at the edge: stateless, it routes, checks, reads, and calls the Sequencer for the rest.
//!
//! [`route`] and [`cut`] decide; the Wasm-only rest performs: `push`, `read` and `manage` answer the
//! verbs, `history` keeps sealed segments in the edge cache, `lookup` asks the Sequencer, `reply`
//! finishes every response.

pub mod cut;
pub mod route;

#[cfg(target_arch = "wasm32")]
mod history;
#[cfg(target_arch = "wasm32")]
mod lookup;
#[cfg(target_arch = "wasm32")]
mod manage;
#[cfg(target_arch = "wasm32")]
mod push;
#[cfg(target_arch = "wasm32")]
mod read;
#[cfg(target_arch = "wasm32")]
mod reply;
#[cfg(target_arch = "wasm32")]
mod timing;
#[cfg(target_arch = "wasm32")]
pub use worker_edge::{Failure, handle};

#[cfg(target_arch = "wasm32")]
mod worker_edge {
    use worker::{Context, Date, Env, Method, Request, Response, Result, console_error};

    use super::route::{Route, Verb, route};
    use super::{manage, push, read, reply};
    use crate::problem::Problem;
    use crate::settings::{Origins, Settings};

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

    /// Answers one request, whatever happens.
    pub async fn handle(mut request: Request, env: Env, context: Context) -> Result<Response> {
        let started = Date::now().as_millis();
        #[cfg(feature = "panic-drill")]
        crate::drill::arm(&request);
        let settings = match Settings::read(&env) {
            Ok(settings) => settings,
            Err(problem) => return reply::finish(reply::problem(&problem)?, &request, &Origins::Any, 0),
        };
        let response = match answer(&mut request, &env, &context, &settings).await {
            Ok(response) => response,
            Err(Failure::Problem(problem)) => reply::problem(&problem)?,
            Err(Failure::Runtime(error)) => {
                console_error!("{} {}: {error}", request.method().as_ref(), request.path());
                reply::problem(&Problem::internal())?
            }
        };
        let took = Date::now().as_millis().saturating_sub(started);
        reply::finish(response, &request, &settings.allowed_origins, took)
    }

    async fn answer(
        request: &mut Request,
        env: &Env,
        context: &Context,
        settings: &Settings,
    ) -> std::result::Result<Response, Failure> {
        let url = request.url()?;
        admit(url.host_str().unwrap_or_default(), settings)?;
        if request.method() == Method::Options {
            return Ok(reply::preflight()?);
        }
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        match route(request.method().as_ref(), url.path(), &query)? {
            Route::Health => Ok(reply::health()?),
            Route::Store(store, Verb::Push) => push::push(request, env, settings, &store).await,
            Route::Store(store, Verb::Read(read)) => read::read(request, env, context, settings, &store, read).await,
            Route::Store(store, Verb::Look) => manage::look(env, &store).await,
            Route::Store(store, Verb::Ensure) => manage::ensure(env, &store).await,
            Route::Store(store, Verb::Reset) => manage::reset(env, &store).await,
        }
    }

    /// Without authentication only a local host is served, so that a deployment is never open by accident.
    fn admit(host: &str, settings: &Settings) -> std::result::Result<(), Problem> {
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost");
        if local || settings.allow_insecure {
            return Ok(());
        }
        Err(Problem::forbidden(
            "AUTH_MODE=none serves local hosts only. Set ALLOW_INSECURE=true to serve everyone without authentication.",
        ))
    }
}
