//! `GET ?live=websocket`: hands the upgrade to the Sequencer. Every refusal comes before the upgrade.

use headwater_core::auth::Scope;
use headwater_core::problem::Problem;
use headwater_core::socket::SocketGrant;
use worker::{Request, Response};

use super::context::StoreContext;
use super::sequencer_client;
use crate::failure::Failure;
use crate::settings::Origins;

/// Opens a socket.
pub(super) async fn connect(
    ctx: &StoreContext<'_>,
    request: &Request,
) -> Result<Response, Failure> {
    let header = |name| request.headers().get(name).map(Option::unwrap_or_default);
    if !header("upgrade")?.eq_ignore_ascii_case("websocket") {
        return Err(Problem::upgrade_required().into());
    }
    check_origin(request.headers().get("origin")?.as_deref(), &ctx.settings.allowed_origins)?;
    let grant = SocketGrant {
        writes: ctx.grant.permits(ctx.store, Scope::Write).is_ok(),
        until_ms: ctx.grant.until(),
    };
    sequencer_client::connect(ctx, grant, &header("sec-websocket-protocol")?).await
}

/// WebSockets know no CORS: a page of any origin may open one, and only the server can refuse it.
fn check_origin(origin: Option<&str>, allowed: &Origins) -> Result<(), Problem> {
    match origin {
        Some(origin) if !allowed.admit(origin) => {
            Err(Problem::forbidden(format!("ALLOWED_ORIGINS does not name the origin {origin}.")))
        }
        _ => Ok(()),
    }
}
