//! A token as it comes: JWS compact serialization (RFC 7515 §7.1), taken apart but not believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// The longest token in characters.
pub const MAX_TOKEN: usize = 16 << 10;

/// The signatures that are taken. Each goes with one kind of key, so that a key can't be used for
/// another algorithm than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256, by `JWT_SECRET`.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519 (RFC 8037; RFC 9864 names it so).
    EdDsa,
}

impl Algorithm {
    /// From the header's or a key's `alg`.
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

/// A token whose signature is yet to be checked.
#[derive(Debug)]
pub struct Token<'t> {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// By which key, if it says so.
    pub key_id: Option<String>,
    /// What is signed.
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
    /// Takes a token apart.
    pub fn parse(token: &'t str) -> Result<Self, Problem> {
        if token.len() > MAX_TOKEN {
            return Err(malformed(format!(
                "has {} characters; {MAX_TOKEN} are allowed",
                token.len()
            )));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(
                "is no signed JWT: that has three parts, with dots between them",
            ));
        };
        let signed = &token[..header.len() + 1 + payload.len()];
        let header: Header = serde_json::from_slice(&decode(header, "header")?)
            .map_err(|_| malformed("has a header that is not an object with the text `alg`"))?;
        let algorithm = Algorithm::named(&header.alg).ok_or_else(|| {
            let detail = format!(
                "The token is signed with {:?}, but HS256, RS256, ES256 or EdDSA is wanted.",
                header.alg
            );
            Problem::unauthorized("algorithm", detail)
        })?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(malformed(
                "asks for an extension (`crit`, `b64`) that is not understood here",
            ));
        }
        if header.typ.as_deref().is_some_and(|typ| !is_access_token(typ)) {
            return Err(malformed("is of another type (`typ`): JWT or at+jwt is wanted"));
        }
        Ok(Self {
            algorithm,
            key_id: header.kid,
            signed,
            signature: decode(signature, "signature")?,
            payload,
        })
    }

    /// What it claims. To be believed once the signature is checked, and not before.
    pub fn claims(&self) -> Result<Map<String, Value>, Problem> {
        serde_json::from_slice(&decode(self.payload, "payload")?)
            .map_err(|_| malformed("has a payload that is not a JSON object"))
    }
}

/// An issuer signs other things than access tokens with the same key: those say so (RFC 8725 §3.11).
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
