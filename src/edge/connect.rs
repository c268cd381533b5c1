//! `GET ?live=websocket`: hands the upgrade to the Sequencer. Every refusal comes before the upgrade.

use headwater_core::auth::Scope;
use headwater_core::problem::Problem;
use headwater_core::socket::SocketGrant;
use worker::{Request, Response};

use super::context::StoreContext;
use super::sequencer_client;
use crate::failure::Failure;
use crate::settings::{Origins, Settings};

/// Opens a socket.
pub(super) async fn connect(
    ctx: &StoreContext<'_>,
    request: &Request,
) -> Result<Response, Failure> {
    let header = |name| request.headers().get(name).map(Option::unwrap_or_default);
    if !header("upgrade")?.eq_ignore_ascii_case("websocket") {
        return Err(Problem::upgrade_required().into());
    }
    check_origin(ctx, request.headers().get("origin")?.as_deref(), &request.inner().url())?;
    // A reset would leave the socket open, and its pushes would land in the next log.
    if ctx.incarnation.is_some() {
        let detail = "Open the socket at the store's own URL, /v1/stream/{tenant}/{store}, without a backend id.";
        return Err(Problem::bad_request("live", detail).into());
    }
    let grant = SocketGrant {
        writes: ctx.grant.permits(ctx.store, Scope::Write).is_ok(),
        until_ms: ctx.grant.until(),
    };
    sequencer_client::connect(ctx, grant, &header("sec-websocket-protocol")?).await
}

/// WebSockets know no CORS: a page of any origin may open one, and only the server can refuse it. That is harmless while
/// the page itself must know the token. Where something else adds the token, as a cookie of Cloudflare Access does, the
/// origin must be the Worker's own, or a named one.
fn check_origin(ctx: &StoreContext<'_>, origin: Option<&str>, url: &str) -> Result<(), Problem> {
    let Some(origin) = origin else { return Ok(()) };
    let is_own = url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'));
    let Settings { allowed_origins, auth, .. } = ctx.settings;
    let is_open_to_all =
        matches!(allowed_origins, Origins::Any) && auth.header() == "authorization";
    if is_open_to_all || allowed_origins.name(origin) || is_own {
        return Ok(());
    }
    let detail =
        format!("Pages of {origin} may not open sockets. Add this origin to ALLOWED_ORIGINS.");
    Err(Problem::forbidden(detail))
}
