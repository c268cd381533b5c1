//! From a request to its [`Grant`].

use headwater_core::auth::claims::{self, Grant};
use headwater_core::auth::token::{Algorithm, Token};
use headwater_core::problem::Problem;
use worker::{Context, Date, Request};

use super::keys;
use crate::edge::context::Failure;
use crate::settings::{Auth, Jwt};

/// Finds out what a request may do; before anything else is known of it, and before any cache.
pub async fn admit(request: &Request, context: &Context, auth: &Auth) -> Result<Grant, Failure> {
    let Auth::Jwt(jwt) = auth else { return Ok(Grant::Everything) };
    let sent = request.headers().get(&jwt.header)?;
    let token = bearer(sent.as_deref().unwrap_or_default(), &jwt.header)?;
    let token = Token::parse(token)?;
    let claims = token.claims()?;
    let now = Date::now().as_millis() as f64 / 1_000.0;
    // No key is looked for, nor waited for, for a token that is over anyway.
    claims::end(&claims, now)?;
    check_signature(&token, context, jwt).await?;
    Ok(jwt.policy.grant(&claims, now)?)
}

/// RFC 6750 §2.1. In a header of another name the token may be alone, as Cloudflare Access sends it.
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
    let mut rings = Vec::new();
    let known = match (token.algorithm, &jwt.secret, &jwt.jwks) {
        (Algorithm::Hs256, Some(secret), _) => Some(keys::secret(secret).await?),
        (Algorithm::Hs256, None, _) => None,
        (_, _, Some(listed)) => Some(keys::listed(listed).await?),
        _ => None,
    };
    rings.extend(known.map(|ring| ring.candidates(token)));
    if keys::any_signed(&rings.concat(), token).await {
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
        rings.push(published);
    }
    Err(match (rings.is_empty(), rings.concat().is_empty()) {
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
