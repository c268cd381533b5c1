//! A token that is parsed, but not verified yet: JWS compact serialization (RFC 7515 §7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// The longest token in characters.
pub const MAX_TOKEN: usize = 16 << 10;

/// The accepted algorithms. Each one belongs to one kind of key. Therefore no key serves another algorithm than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256, with `JWT_SECRET`.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519 (RFC 8037, and RFC 9864 for that name).
    EdDsa,
}

impl Algorithm {
    /// Reads the `alg` of a token's header or of a key.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "RS256" => Self::Rs256,
            "ES256" => Self::Es256,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A token whose signature must still be checked.
#[derive(Debug)]
pub struct Token<'t> {
    /// The algorithm of the signature.
    pub algorithm: Algorithm,
    /// The id of the key, if the header has one.
    pub key_id: Option<String>,
    /// The signed text.
    pub signed: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
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
        let signed = &token[..header.len() + 1 + payload.len()];
        let header: Header = serde_json::from_slice(&decode(header, "header")?)
            .map_err(|_| malformed("has a header that is not an object with the text `alg`"))?;
        let algorithm = Algorithm::named(&header.alg).ok_or_else(|| {
            let detail = format!(
                "The token is signed with {:?}, but must be signed with HS256, RS256, ES256 or EdDSA.",
                header.alg
            );
            Problem::unauthorized("algorithm", detail)
        })?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(malformed(
                "requires an extension (`crit`, `b64`) that this server does not support",
            ));
        }
        if header.typ.as_deref().is_some_and(|typ| !is_access_token(typ)) {
            return Err(malformed("has another type (`typ`), but must have JWT or at+jwt"));
        }
        Ok(Self {
            algorithm,
            key_id: header.kid,
            signed,
            signature: decode(signature, "signature")?,
            payload,
        })
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
