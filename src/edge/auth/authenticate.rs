//! Turns a request's token into a [`Grant`].

use headwater_core::auth::claims::{self, Grant};
use headwater_core::auth::token::{Algorithm, Token};
use headwater_core::problem::Problem;
use worker::{Context, Request};

use super::keys;
use crate::edge::context::Failure;
use crate::isolate::now_ms;
use crate::settings::{Auth, Jwt};

/// Checks the token, and says what the request may do.
pub(in crate::edge) async fn authenticate(
    request: &Request,
    context: &Context,
    auth: &Auth,
) -> Result<Grant, Failure> {
    let Auth::Jwt(jwt) = auth else { return Ok(Grant::Everything) };
    let header = request.headers().get(&jwt.header)?;
    let token = bearer(header.as_deref().unwrap_or_default(), &jwt.header)?;
    let token = Token::parse(token)?;
    let claims = token.claims()?;
    let now_seconds = now_ms() as f64 / 1_000.0;
    // An expired token must cost no fetch of keys.
    claims::end(&claims, now_seconds)?;
    check_signature(&token, context, jwt).await?;
    Ok(jwt.policy.grant(&claims, now_seconds)?)
}

/// The token (RFC 6750 §2.1). A header other than `Authorization` may hold the token alone, as Cloudflare Access sends it.
fn bearer<'h>(value: &'h str, header: &str) -> Result<&'h str, Problem> {
    let (scheme, token) = value.split_once(' ').unwrap_or(("", value));
    match scheme.to_ascii_lowercase().as_str() {
        _ if value.is_empty() => Err(Problem::no_token(header)),
        "bearer" => Ok(token.trim_matches(' ')),
        "" if header != "authorization" => Ok(token),
        _ => Err(Problem::no_token(header)),
    }
}

async fn check_signature(token: &Token<'_>, context: &Context, jwt: &Jwt) -> Result<(), Problem> {
    // The keys of each source that may hold the token's key.
    let mut sources = Vec::new();
    let configured = match (token.algorithm, &jwt.secret, &jwt.jwks) {
        (Algorithm::Hs256, Some(secret), _) => Some(keys::secret(secret).await?),
        (Algorithm::Hs256, None, _) => None,
        (_, _, Some(listed)) => Some(keys::listed(listed).await?),
        _ => None,
    };
    sources.extend(configured.map(|keys| keys.candidates(token)));
    if keys::any_signed(&sources.concat(), token).await {
        return Ok(());
    }
    if let (Some(url), true) = (&jwt.jwks_url, token.algorithm != Algorithm::Hs256) {
        let published = keys::published(url, context, token).await?;
        if keys::any_signed(&published, token).await {
            return Ok(());
        }
        if !published.is_empty()
            && keys::any_signed(&keys::republished(url, context, token).await, token).await
        {
            return Ok(());
        }
        sources.push(published);
    }
    Err(match (sources.is_empty(), sources.concat().is_empty()) {
        (true, _) => {
            Problem::unauthorized("algorithm", "This server has no keys for the token's algorithm.")
        }
        (_, true) => Problem::unauthorized(
            "key",
            "The token is signed with a key that this server does not know.",
        ),
        _ => Problem::unauthorized("signature", "The token's signature is wrong."),
    })
}
