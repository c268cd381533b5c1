//! Answers every request: finds its route, authenticates it, and hands it to the part that serves it.

use headwater_core::problem::Problem;
use headwater_core::request_log::{Entry, LogRequests};
use headwater_core::route::{Route, Target, Verb, is_inspector, route};
use headwater_core::sequencer::copy::LogName;
use worker::{Context, Env, Request, Response, Result, console_error};

use super::context::StoreContext;
use super::write_headers::Asked;
use super::{connect, inspect, moving, push, read, ready, reply, stream_admin};
use crate::auth;
use crate::failure::Failure;
use crate::isolate::now_ms;
use crate::settings::{Auth, Origins, Settings, is_local};
use crate::{rate_limit, request_log};

/// Answers one request. Every failure becomes an answer too.
pub(crate) async fn handle(mut request: Request, env: Env, context: Context) -> Result<Response> {
    let ray = request.headers().get("cf-ray")?;
    let mut entry = Entry::new(request.inner().method(), ray.as_deref(), now_ms());
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
            let store = entry.store.as_deref().unwrap_or("no store");
            console_error!("{} of {store}: {error}", entry.route);
            refusal(&Problem::internal(), &mut entry)?
        }
    };
    entry.answered(response.status_code(), now_ms());
    let (allowed_origins, log_requests) = match &settings {
        Ok(settings) => (&settings.allowed_origins, settings.log_requests),
        Err(_) => (&Origins::Any, LogRequests::All),
    };
    let timing = entry.waits.header(entry.ms);
    // The runtime takes no further headers for an upgrade.
    let response = match response.status_code() {
        101 => response,
        _ => reply::finish(response, &request, allowed_origins, &timing)?,
    };
    if entry.route == "read" {
        entry.cache = response.headers().get(reply::CACHE)?;
    }
    request_log::write(&entry, log_requests, &env);
    Ok(response)
}

fn refusal(problem: &Problem, entry: &mut Entry) -> Result<Response> {
    entry.refused(problem);
    reply::problem(problem)
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
    // The worker crate's own method says GET for a method that it does not know.
    let method = request.inner().method();
    if is_inspector(target.path) && !settings.inspector {
        return Err(Problem::not_found().into());
    }
    check_local(&target, request.headers().get("origin")?.as_deref(), settings)?;
    if method == "OPTIONS" {
        entry.route = "preflight";
        return Ok(reply::preflight(settings.auth.header(), &settings.allowed_headers)?);
    }
    let (store, incarnation, verb) = match route(&method, &target, settings.max_name)? {
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
            return Ok(inspect::page_settings(settings)?);
        }
        Route::Store { store, incarnation, verb } => (store, incarnation, verb),
    };
    entry.aims(&store, &verb);
    // Before the Worker learns anything about the store, and before any cache.
    let grant = auth::authenticate(request, &settings.auth).await?;
    let asked = Asked::read(request, verb, settings.body_timeout).await?;
    entry.aims(&store, &asked.verb);
    grant.permits(&store, asked.verb.scope())?;
    rate_limit::check(env, &store).await?;
    let closes = asked.check()?;
    let verb = asked.verb;
    let name = incarnation.map(|name| LogName::parse(&name.0));
    let ctx = StoreContext {
        env,
        runtime: context,
        settings,
        host: target.host,
        url: &url,
        store: &store,
        incarnation: name.as_ref().map(|name| &name.backend_id),
        copy: name.as_ref().and_then(|name| name.copy.as_deref()),
        grant: &grant,
    };
    let answered = match verb {
        Verb::Push => push::push(&ctx, request, entry).await,
        Verb::Connect => connect::connect(&ctx, request).await,
        Verb::Read(read) => {
            let if_none_match = request.headers().get("if-none-match")?;
            read::read(&ctx, read, if_none_match, &mut entry.waits).await
        }
        verb @ (Verb::Head
        | Verb::Create
        | Verb::Reset
        | Verb::Close
        | Verb::Delete
        | Verb::Adopt) => stream_admin::serve(&ctx, verb, closes).await,
        Verb::Move(to) => moving::move_to(&ctx, to).await,
        Verb::Restore(part) => moving::restore(&ctx, part, request).await,
        Verb::Inspect => inspect::inspect(&ctx).await,
    };
    answered.map_err(|failure| ctx.refusal_of(failure))
}

/// Without authentication the Worker serves only local hosts, and pages from there. Therefore no deployment is open by
/// accident, and no other page that a developer opens can use the stores. `ALLOW_INSECURE` never opens the inspector.
fn check_local(
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
