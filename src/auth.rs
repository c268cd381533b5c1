//! Authentication: turns a bearer token into a [`Grant`]. The module `signature` checks the token's signature.

use headwater_core::auth::claims::{self, Grant};
use headwater_core::auth::token::Token;
use headwater_core::problem::Problem;
use headwater_core::socket::TOKEN_PREFIX;
use worker::Request;
use worker::wasm_bindgen_futures::JsFuture;

use crate::failure::Failure;
use crate::isolate::now_ms;
use crate::settings::{Auth, Jwt};
use crate::signature;

/// Checks the token of a request, and says what the request may do.
pub(crate) async fn authenticate(request: &Request, auth: &Auth) -> Result<Grant, Failure> {
    let Auth::Jwt(jwt) = auth else { return Ok(Grant::Everything) };
    let header = request.headers().get(&jwt.header)?;
    let value = header.as_deref().unwrap_or_default();
    match bearer(value, &jwt.header) {
        Ok(token) => check(token, jwt).await,
        Err(problem) => match socket_token(request)? {
            Some(token) => check(&token, jwt).await,
            None => Err(problem.into()),
        },
    }
}

/// Checks the new token of a socket.
pub(crate) async fn renew(token: &str, auth: &Auth) -> Result<Grant, Failure> {
    match auth {
        Auth::Open { .. } => Ok(Grant::Everything),
        Auth::Jwt(jwt) => check(token, jwt).await,
    }
}

/// The token among the subprotocols of a WebSocket (RFC 6455 §1.9): a browser can't set its headers.
fn socket_token(request: &Request) -> Result<Option<String>, Failure> {
    let offered = request.headers().get("sec-websocket-protocol")?.unwrap_or_default();
    let token = offered.split(',').find_map(|one| one.trim().strip_prefix(TOKEN_PREFIX));
    Ok(token.map(Into::into))
}

async fn check(token: &str, jwt: &Jwt) -> Result<Grant, Failure> {
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
            Problem::misconfigured("JWT_JWKS", "has only malformed keys. Replace them.")
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
