//! Key sets (RFC 7517 §5), and which of their keys can be used.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::token::Algorithm;

/// A public key, reduced to the members that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// The only algorithm that the key checks.
    pub algorithm: Algorithm,
    /// The key's id.
    pub id: Option<String>,
    /// The members that make the key, including `kty`.
    pub members: Vec<(&'static str, String)>,
}

/// A key set, sorted into keys that can be used and keys that can't.
#[derive(Debug, PartialEq, Eq)]
pub struct Jwks {
    /// The keys that can be used.
    pub usable: Vec<Jwk>,
    /// The reasons why the other keys can't be used, for a log.
    pub unusable: Vec<String>,
}

impl Jwks {
    /// The reason why no key can be used, in words.
    pub fn why_not(&self) -> String {
        if self.unusable.is_empty() { "it is empty".into() } else { self.unusable.join("; ") }
    }
}

/// The smallest RSA modulus in bytes (RFC 7518 §3.3).
const MIN_RSA_BYTES: usize = 256;

/// Reads a key set. The set may hold keys for other purposes. Text that is not a key set is an error.
pub fn parse(json: &str) -> Result<Jwks, String> {
    let set: Value = serde_json::from_str(json).map_err(|error| format!("is not JSON: {error}"))?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("must be an object with an array `keys`")?;
    let mut jwks = Jwks { usable: Vec::new(), unusable: Vec::new() };
    for (index, key) in keys.iter().enumerate() {
        match key.as_object().ok_or("is not an object").and_then(usable) {
            Ok(key) => jwks.usable.push(key),
            Err(why) => jwks.unusable.push(format!("key {index} {why}")),
        }
    }
    Ok(jwks)
}

fn usable(key: &Map<String, Value>) -> Result<Jwk, &'static str> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default()
    };
    if key.contains_key("d") {
        return Err("is a private key, but must be the public key");
    }
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Err("has a `use` other than signatures (`sig`)");
    }
    let operations = key.get("key_ops").and_then(Value::as_array);
    if operations.is_some_and(|operations| !operations.iter().any(|one| one == "verify")) {
        return Err("has `key_ops` without `verify`");
    }
    let (algorithm, names): (_, &[&'static str]) =
        match (text("kty").unwrap_or_default(), text("crv")) {
            ("RSA", _) => {
                let modulus = bytes("n");
                if modulus.iter().skip_while(|byte| **byte == 0).count() < MIN_RSA_BYTES {
                    return Err("is an RSA key with fewer than 2048 bits");
                }
                (Algorithm::Rs256, &["kty", "n", "e"])
            }
            ("EC", Some("P-256")) if bytes("x").len() == 32 && bytes("y").len() == 32 => {
                (Algorithm::Es256, &["kty", "crv", "x", "y"])
            }
            ("OKP", Some("Ed25519")) if bytes("x").len() == 32 => {
                (Algorithm::EdDsa, &["kty", "crv", "x"])
            }
            ("oct", _) => {
                return Err("is a secret key, which belongs in JWT_SECRET");
            }
            _ => {
                return Err("is of an unsupported kind: use RSA, EC on P-256, or OKP Ed25519");
            }
        };
    if text("alg").is_some_and(|name| Algorithm::named(name) != Some(algorithm)) {
        return Err("has an unsupported `alg`: use RS256, ES256 or EdDSA");
    }
    let members =
        names.iter().map(|name| Some((*name, text(name)?.to_string()))).collect::<Option<_>>();
    let members = members.ok_or("lacks a member that its kind requires")?;
    Ok(Jwk { algorithm, id: text("kid").map(Into::into), members })
}
