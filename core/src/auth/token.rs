//! A token that is parsed, but not verified yet: JWS compact serialization (RFC 7515 §7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// The longest token in characters.
pub const MAX_TOKEN: usize = 16 << 10;

/// The accepted algorithms (RFC 7518 §3.1, RFC 8037; RFC 9864 names EdDSA anew).
const ALGORITHMS: [&str; 5] = ["HS256", "RS256", "ES256", "EdDSA", "Ed25519"];

/// A token whose signature must still be checked.
#[derive(Debug)]
pub struct Token<'t> {
    /// The algorithm of the signature.
    pub algorithm: String,
    /// The id of the key, if the header has one.
    pub key_id: Option<String>,
    payload: &'t str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

impl<'t> Token<'t> {
    /// Parses a token.
    pub fn parse(token: &'t str) -> Result<Self, Problem> {
        if token.len() > MAX_TOKEN {
            return Err(malformed(format!(
                "has {} characters, but may have at most {MAX_TOKEN}",
                token.len()
            )));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(
                "is not a signed JWT, which has three parts with dots between them",
            ));
        };
        let header: Header = serde_json::from_slice(&decode(header, "header")?)
            .map_err(|_| malformed("has a header that is not an object with the text `alg`"))?;
        if !ALGORITHMS.contains(&&*header.alg) {
            let detail = format!(
                "The token is signed with {:?}, but must be signed with HS256, RS256, ES256 or EdDSA.",
                header.alg
            );
            return Err(Problem::unauthorized("algorithm", detail));
        }
        if header.crit.is_some() || header.b64.is_some() {
            return Err(malformed(
                "requires an extension (`crit`, `b64`) that this server does not support",
            ));
        }
        if header.typ.as_deref().is_some_and(|typ| !is_access_token(typ)) {
            return Err(malformed("has another type (`typ`), but must have JWT or at+jwt"));
        }
        // The library that checks the signature would accept other spellings of it.
        decode(signature, "signature")?;
        Ok(Self { algorithm: header.alg, key_id: header.kid, payload })
    }

    /// The claims. Do not trust them before the signature is checked.
    pub fn claims(&self) -> Result<Map<String, Value>, Problem> {
        serde_json::from_slice(&decode(self.payload, "payload")?)
            .map_err(|_| malformed("has a payload that is not a JSON object"))
    }
}

/// Whether the type is that of an access token. An issuer may sign other things with the same key, and their `typ` says so
/// (RFC 8725 §3.11).
fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

fn decode(part: &str, name: &str) -> Result<Vec<u8>, Problem> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed(format!("has a {name} that is not base64url")))
}

fn malformed(what: impl std::fmt::Display) -> Problem {
    Problem::unauthorized("malformed", format!("The token {what}."))
}
