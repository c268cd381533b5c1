//! Answers every request: finds its route, lets it in, and hands it to the part that serves it.

use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use headwater_core::request_log::{Entry, LogRequests};
use headwater_core::route::{Route, Target, Verb, is_inspector, route};
use worker::{
    AnalyticsEngineDataPointBuilder, Context, Env, RateLimitOutcome, Request, Response, Result,
    console_error, console_log,
};

use super::context::{Failure, StoreRequest};
use super::{auth, inspect, push, read, ready, reply, stream_admin};
use crate::isolate::now;
use crate::settings::{ANALYTICS_BINDING, Auth, Origins, RATE_LIMITER_BINDING, Settings, is_local};

/// Answers one request, whatever happens.
pub async fn handle(mut request: Request, env: Env, context: Context) -> Result<Response> {
    let mut entry =
        Entry::new(request.inner().method(), request.headers().get("cf-ray")?.as_deref(), now());
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm(&request);
    let settings = Settings::of(&env);
    let answered = match &settings {
        Ok(settings) => answer(&mut request, &env, &context, settings, &mut entry).await,
        Err(problem) => {
            console_error!("{}", problem.detail);
            Err(problem.clone().into())
        }
    };
    let response = match answered {
        Ok(response) => response,
        Err(Failure::Problem(problem)) => refusal(&problem, &mut entry)?,
        Err(Failure::Runtime(error)) => {
            console_error!(
                "{} of {}: {error}",
                entry.route,
                entry.store.as_deref().unwrap_or("no store")
            );
            refusal(&Problem::internal(), &mut entry)?
        }
    };
    entry.answered(response.status_code(), now());
    let (allowed, wanted) =
        settings.as_ref().map_or((&Origins::Any, LogRequests::All), |settings| {
            (&settings.allowed_origins, settings.log_requests)
        });
    let response = reply::finish(response, &request, allowed, &entry.waits.header(entry.ms))?;
    if entry.route == "read" {
        entry.cache = response.headers().get(reply::CACHE)?;
    }
    tell(&entry, wanted, &env);
    Ok(response)
}

fn refusal(problem: &Problem, entry: &mut Entry) -> Result<Response> {
    entry.refused(problem);
    reply::problem(problem)
}

/// Tells who runs the Worker what became of a request. What fails here fails no request.
fn tell(entry: &Entry, wanted: LogRequests, env: &Env) {
    if wanted.wants(entry.status)
        && let Ok(line) = serde_json::to_string(entry)
    {
        console_log!("{line}");
    }
    if let Ok(dataset) = env.analytics_engine(ANALYTICS_BINDING) {
        let point = entry.point();
        let builder = AnalyticsEngineDataPointBuilder::new().indexes([point.index]);
        if let Err(error) = builder.blobs(point.blobs).doubles(point.doubles).write_to(&dataset) {
            console_error!("no data point was written: {error}");
        }
    }
}

async fn answer(
    request: &mut Request,
    env: &Env,
    context: &Context,
    settings: &Settings,
    entry: &mut Entry,
) -> std::result::Result<Response, Failure> {
    let url = request.inner().url();
    let target = Target::of(&url);
    // Not the worker crate's method: to that, what it does not know is GET.
    let method = request.inner().method();
    if is_inspector(target.path) && !settings.inspector {
        return Err(Problem::not_found().into());
    }
    check_neighbourhood(&target, request.headers().get("origin")?.as_deref(), settings)?;
    if method == "OPTIONS" {
        entry.route = "preflight";
        return Ok(reply::preflight(settings.auth.header(), &settings.allowed_headers)?);
    }
    let (store, verb) = match route(&method, &target, settings.max_name)? {
        Route::Health => {
            entry.route = "health";
            return Ok(reply::status("ok")?);
        }
        Route::Ready => {
            entry.route = "ready";
            return ready::ready(settings).await;
        }
        Route::Page(page) => {
            entry.route = "inspector";
            return inspect::page(env, page).await;
        }
        Route::Inspector => {
            entry.route = "inspector";
            return Ok(inspect::manual(settings)?);
        }
        Route::Store(store, verb) => (store, verb),
    };
    entry.aims(&store, &verb);
    // Before anything is known of the store, and before any cache.
    let grant = auth::admit(request, &settings.auth).await?;
    grant.permits(&store, verb.scope())?;
    check_rate(env, &store).await?;
    let on = StoreRequest {
        env,
        runtime: context,
        settings,
        host: target.host,
        store: &store,
        grant: &grant,
    };
    match verb {
        Verb::Push => push::push(&on, request, entry).await,
        Verb::Read(read) => {
            let condition = request.headers().get("if-none-match")?;
            read::read(&on, read, condition, &mut entry.waits).await
        }
        verb @ (Verb::Head | Verb::Create | Verb::Reset | Verb::Adopt) => {
            stream_admin::serve(&on, verb).await
        }
        Verb::Inspect => inspect::inspect(&on).await,
    }
}

/// Without authentication only a local host is served, so that a deployment is never open by accident, and only
/// local pages, so that no other page that a developer opens can use the stores. The inspector is so, whoever
/// else may use the stores.
fn check_neighbourhood(
    target: &Target,
    origin: Option<&str>,
    settings: &Settings,
) -> std::result::Result<(), Problem> {
    let Auth::Open { to_every_host } = settings.auth else { return Ok(()) };
    if to_every_host && !is_inspector(target.path) {
        return Ok(());
    }
    if !is_local(target.host) {
        return Err(Problem::forbidden(
            "AUTH_MODE=none serves local hosts only. Set AUTH_MODE=jwt, or ALLOW_INSECURE=true to serve everyone \
             without authentication (but not the inspector).",
        ));
    }
    match origin {
        Some(origin)
            if !is_local(Target::of(origin).host) && !settings.allowed_origins.name(origin) =>
        {
            Err(Problem::forbidden(
                "AUTH_MODE=none serves pages from local hosts only, and from origins that ALLOWED_ORIGINS names.",
            ))
        }
        _ => Ok(()),
    }
}

/// Cloudflare's rate limiter, where the deployment has one: one budget a tenant. Who is not let in spends
/// nobody's. A limiter that fails limits nobody.
async fn check_rate(env: &Env, store: &StorePath) -> std::result::Result<(), Problem> {
    let Ok(limiter) = env.rate_limiter(RATE_LIMITER_BINDING) else { return Ok(()) };
    match limiter.limit(store.tenant().into()).await {
        Ok(RateLimitOutcome { success: false }) => {
            Err(Problem::tenant_rate_limited(RATE_LIMIT_SECONDS))
        }
        _ => Ok(()),
    }
}

/// The shorter of the two periods that Cloudflare's rate limiter knows.
const RATE_LIMIT_SECONDS: u32 = 10;
