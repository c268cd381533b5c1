//! Turns a request's token into a [`Grant`].

use headwater_core::auth::claims::{self, Grant};
use headwater_core::auth::token::Token;
use headwater_core::problem::Problem;
use worker::Request;
use worker::wasm_bindgen_futures::JsFuture;

use crate::edge::context::Failure;
use crate::isolate::now_ms;
use crate::settings::{Auth, Jwt};
use crate::signature;

/// Checks the token, and says what the request may do.
pub(in crate::edge) async fn authenticate(
    request: &Request,
    auth: &Auth,
) -> Result<Grant, Failure> {
    let Auth::Jwt(jwt) = auth else { return Ok(Grant::Everything) };
    let header = request.headers().get(&jwt.header)?;
    let token = bearer(header.as_deref().unwrap_or_default(), &jwt.header)?;
    let parsed = Token::parse(token)?;
    let claims = parsed.claims()?;
    let now_seconds = now_ms() as f64 / 1_000.0;
    // An expired token must cost no fetch of keys.
    claims::end(&claims, now_seconds)?;
    check_signature(token, &parsed, jwt).await?;
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

async fn check_signature(token: &str, parsed: &Token<'_>, jwt: &Jwt) -> Result<(), Failure> {
    let verdict = signature::check(
        token,
        &parsed.algorithm,
        parsed.key_id.as_deref(),
        jwt.secret.as_deref(),
        &jwt.jwks,
        jwt.jwks_url.as_deref(),
    );
    let verdict = JsFuture::from(verdict).await.map_err(worker::Error::from)?;
    if let Some(seconds) = verdict.as_f64() {
        return Err(Problem::keys_unavailable(seconds as u32).into());
    }
    Err(match verdict.as_string().as_deref() {
        Some("right") => return Ok(()),
        Some("JWT_JWKS") => {
            Problem::misconfigured("JWT_JWKS", "has keys, but none that is what it says.")
        }
        Some("algorithm") => {
            Problem::unauthorized("algorithm", "This server has no keys for the token's algorithm.")
        }
        Some("key") => Problem::unauthorized(
            "key",
            "The token is signed with a key that this server does not know.",
        ),
        _ => Problem::unauthorized("signature", "The token's signature is wrong."),
    }
    .into())
}
